// Shows the snapshots that the server sends each second. Text of a client is never taken for HTML.
"use strict";

const POINTS = 120; // The seconds that the plot shows.
const SILENCE = 5000; // After so many milliseconds without news, the page says so.
const REASONS = ["by_peer", "by_server", "stopping", "idle", "too_slow", "lost", "failed", "panicked"];
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

const rates = []; // One { received, sent } for each second, in bytes per second.
let last = null; // The snapshot before.
let source = null;
let heard = 0;

// How numbers are shown.

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit > 0 && count < 99.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  seconds = Math.floor(seconds);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function moment(age) {
  const time = new Date(Date.now() - 1000 * age);
  const clock = time.toLocaleTimeString("en-GB");
  return age < 20 * 3600 ? clock : `${time.toLocaleDateString("en-CA")} ${clock}`;
}

function reasons(numbers) {
  const words = REASONS.filter((reason) => numbers[reason] > 0);
  return words.map((reason) => `${reason.replace("_", " ")} ${numbers[reason]}`).join(", ");
}

function show(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The connection to the server.

function connect() {
  source = new EventSource("events");
  source.onopen = () => (heard = performance.now());
  source.onmessage = (event) => {
    heard = performance.now();
    status("live", "live");
    update(JSON.parse(event.data));
  };
  source.onerror = () => {
    // A browser gives up after some errors. This page does not.
    source.close();
    status("lost", "connection lost, trying again");
    setTimeout(connect, 1000);
  };
}

function status(state, text) {
  byId("status").dataset.state = state;
  show(byId("status"), text);
  document.body.classList.toggle("lost", state === "lost");
}

setInterval(() => {
  if (byId("status").dataset.state === "live" && performance.now() - heard > SILENCE) {
    status("lost", "connected, but no news from the server");
  }
}, 1000);

async function closeClient(id, button) {
  button.disabled = true;
  try {
    const answer = await fetch(`close/${id}`, { method: "POST" });
    note(`Client ${id}: ${await answer.text()}`);
    button.disabled = answer.ok || answer.status === 404;
  } catch {
    note(`Client ${id} is not closed, because the server does not answer.`);
    button.disabled = false;
  }
}

let noted;
function note(text) {
  show(byId("note"), text);
  clearTimeout(noted);
  noted = setTimeout(() => show(byId("note"), ""), 5000);
}

// The snapshots.

function update(now) {
  const total = now.total.numbers;
  // A server that was started again counts from zero.
  const before = last && last.uptime < now.uptime ? last : null;
  if (last && !before) rates.length = 0;
  if (before) {
    const rate = (name) => (total[name] - before.total.numbers[name]) / (now.uptime - before.uptime);
    rates.push({ received: rate("received_bytes"), sent: rate("sent_bytes") });
    if (rates.length > POINTS) rates.shift();
    show(byId("received"), `${bytes(rates.at(-1).received)}/s`);
    show(byId("sent"), `${bytes(rates.at(-1).sent)}/s`);
  }
  last = now;
  show(byId("uptime"), `since ${moment(now.uptime)}, for ${duration(now.uptime)}`);
  show(byId("clients"), String(total.clients));
  show(byId("peak"), `${total.clients_accepted} in total`);
  show(byId("received-total"), `${bytes(total.received_bytes)} in total`);
  show(byId("sent-total"), `${bytes(total.sent_bytes)} in total`);
  show(byId("backlog"), bytes(total.backlog_bytes));
  show(byId("ended"), String(REASONS.reduce((sum, reason) => sum + total[reason], 0)));
  show(byId("reasons"), reasons(total));
  byId("reasons").title = reasons(total);
  show(byId("threads"), String(now.threads));
  plot();
  table("servers", now.servers, (server) => server.name, serverCells);
  table("rows", now.clients, (client) => client.id, clientCells);
  const shown = now.clients.length;
  show(byId("shown"), shown < total.clients ? `the first ${shown} of ${total.clients}` : "");
}

// A cell of a table.
const text = (text) => ({ text, title: text, kind: "text" });
const number = (text, isLoud = false) => ({ text, kind: isLoud ? "n loud" : "n" });
const size = (count, isLoud) => ({ ...number(bytes(count), isLoud), title: `${count} bytes` });

function serverCells({ name, numbers }) {
  const notServed = numbers.clients_refused + numbers.accept_errors + numbers.handshakes_failed;
  return [
    text(name),
    number(String(numbers.clients)),
    number(String(numbers.clients_peak)),
    number(String(numbers.clients_accepted)),
    number(String(notServed), notServed > 0),
    size(numbers.received_bytes),
    size(numbers.sent_bytes),
    size(numbers.backlog_bytes, numbers.backlog_bytes > 0),
    { text: reasons(numbers) },
  ];
}

function clientCells(client, row) {
  row.dataset.since ??= moment(client.age);
  row.classList.toggle("closing", client.closing);
  const busy = client.in_callback;
  return [
    number(client.id),
    text(client.name),
    text(client.peer),
    text(client.server),
    { text: row.dataset.since },
    number(duration(client.idle)),
    number(busy === null ? "–" : duration(busy), busy > 1),
    size(client.received),
    size(client.sent),
    size(client.backlog, client.backlog > 0),
    { button: client.id, closing: client.closing },
  ];
}

/** Makes the rows of a table those of the items, in the same order. A row stays as long as its item. */
function table(id, items, keyOf, cellsOf) {
  const body = byId(id).tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    let row = old.get(key);
    old.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
    }
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    cellsOf(item, row).forEach((cell, column) => fill(row, column, cell));
  });
  old.forEach((row) => row.remove());
}

function fill(row, column, cell) {
  const td = row.cells[column] ?? row.insertCell();
  const child = td.firstChild ?? td.appendChild(cell.button ? closeButton(cell.button) : document.createElement("span"));
  if (cell.button) {
    show(child, cell.closing ? "closing" : "Close");
    child.disabled ||= cell.closing;
  } else {
    td.className = cell.kind ?? "";
    td.title = cell.title ?? "";
    show(child, cell.text);
  }
}

function closeButton(id) {
  const button = document.createElement("button");
  button.setAttribute("aria-label", `Close client ${id}`);
  button.addEventListener("click", () => closeClient(id, button));
  return button;
}

// The plot: a line and an area for each rate. The newest point is at the right.

function plot() {
  const svg = byId("plot");
  const { width, height } = svg.getBoundingClientRect();
  const [left, top, right, bottom] = [64, 8, width - 4, height - 20];
  const most = ceiling(Math.max(10, ...rates.flatMap(({ received, sent }) => [received, sent])));
  const x = (age) => right - (age * (right - left)) / (POINTS - 1);
  const y = (rate) => bottom - (rate * (bottom - top)) / most;

  const grid = [];
  for (const part of [0, 0.5, 1]) {
    grid.push(element("line", { x1: left, x2: right, y1: y(part * most), y2: y(part * most) }));
    const label = element("text", { x: left - 8, y: y(part * most) + 4, "text-anchor": "end" });
    label.textContent = bytes(part * most);
    grid.push(label);
  }
  for (const [age, text, anchor] of [[119, "2 min ago", "start"], [60, "1 min ago", "middle"], [0, "now", "end"]]) {
    const label = element("text", { x: x(age), y: height - 4, "text-anchor": anchor });
    label.textContent = text;
    grid.push(label);
  }
  byId("grid").replaceChildren(...grid);

  for (const name of ["received", "sent"]) {
    const points = rates.map((rate, index) => {
      return `${x(rates.length - 1 - index).toFixed(1)},${y(rate[name]).toFixed(1)}`;
    });
    const line = points.length > 0 ? `M${points.join("L")}` : "";
    const area = line && `${line}L${right},${bottom}L${x(rates.length - 1).toFixed(1)},${bottom}Z`;
    byId(`${name}-line`).setAttribute("d", line);
    byId(`${name}-area`).setAttribute("d", area);
  }
}

/** The next number of 1, 2 or 5 and zeros. */
function ceiling(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return power * [1, 2, 5, 10].find((digit) => digit * power >= number);
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

addEventListener("resize", plot);
plot();
connect();
