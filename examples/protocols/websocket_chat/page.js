"use strict";

const [room, state, log, form, text, send] =
  ["room", "state", "log", "form", "text", "send"].map(id => document.getElementById(id));
const FIRST_DELAY = 500, LONGEST_DELAY = 30000, MOST_MESSAGES = 500;

let socket, me, delay = FIRST_DELAY;

function connect() {
  room.value = location.hash.slice(1) || "lobby";
  if (!room.checkValidity()) {
    show(false, "this is no name of a room");
    return;
  }
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = socket = new WebSocket(`${scheme}//${location.host}/chat/${room.value}`);
  mine.onmessage = event => {
    if (mine === socket) receive(JSON.parse(event.data));
  };
  // A connection that fails also closes.
  mine.onclose = () => {
    if (mine !== socket) return;
    show(false, "waiting for the server …");
    // Not all pages come back in the same moment.
    setTimeout(() => { if (mine === socket) connect(); }, delay * (0.5 + Math.random()));
    delay = Math.min(2 * delay, LONGEST_DELAY);
  };
}

function receive(message) {
  if ("you" in message) {
    me = message.you;
    delay = FIRST_DELAY;
  } else if ("here" in message) {
    show(true, message.here === 1 ? "you are alone here" : `${message.here} people are here`);
  } else {
    add(message.from, message.text);
  }
}

function show(open, words) {
  state.textContent = words;
  state.dataset.open = open;
  send.disabled = !open;
}

// The text of other people becomes text, never HTML.
function add(from, words) {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 10;
  const item = document.createElement("li"), who = document.createElement("b");
  item.classList.toggle("mine", from === me);
  who.textContent = from === me ? "you" : `guest ${from}`;
  item.append(who, words);
  log.append(item);
  if (log.childElementCount > MOST_MESSAGES) log.firstElementChild.remove();
  if (atEnd) item.scrollIntoView();
}

form.onsubmit = event => {
  event.preventDefault();
  if (send.disabled) return;
  socket.send(text.value);
  text.value = "";
};

room.onchange = () => {
  if (room.reportValidity()) location.hash = room.value;
};

onhashchange = () => {
  const old = socket;
  socket = undefined;
  if (old) old.close();
  log.replaceChildren();
  show(false, "connecting …");
  delay = FIRST_DELAY;
  connect();
};

connect();
