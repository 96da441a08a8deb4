//! A chat in the browser, with rooms, over WebSocket. The crate `tungstenite` reads the frames of a client. Each
//! message to a room is encoded once, and posted to the members as bytes.
//!
//! Run it:      cargo run -p protocol-examples --example websocket_chat   (on another address: add localhost:9000)
//! Talk to it:  open http://localhost:8000 in two windows of a browser
//!              or, after pip install websockets: python3 -m websockets ws://localhost:8000/chat/lobby
//! Stop it:     press Ctrl-C; each member gets a close frame, and the page waits for the next start

mod web;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backport::{Adapter, Backport, Client, Closing, Group, Input, Result, TcpServer};
use parking_lot::Mutex;
use serde_json::{json, Value};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};
use tungstenite::{error::ProtocolError::ResetWithoutClosingHandshake, Error};

/// The largest message in bytes.
const MESSAGE_LIMIT: usize = 4 * 1024;
/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How often each member gets a ping, which its browser answers. A member that is silent for longer has vanished.
const PING_PERIOD: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(15);

/// The rooms by name. A room exists while it has members.
///
/// The lock is held while a room gets a message. Therefore all its members get all messages in one order, and
/// none after they have left. This takes little time, because a post never waits for a peer.
#[derive(Clone, Default)]
struct Rooms(Arc<Mutex<HashMap<String, Group>>>);

impl Rooms {
    fn join(&self, name: &str, client: &Client) {
        let mut rooms = self.0.lock();
        let room = rooms.entry(name.to_owned()).or_default();
        room.join(client);
        room.broadcast(count(room));
    }

    fn leave(&self, name: &str, client: &Client) {
        let mut rooms = self.0.lock();
        let Some(room) = rooms.get(name) else { return };
        room.leave(client);
        // If no member is left to accept this, the room ends.
        if room.broadcast(count(room)) == 0 {
            rooms.remove(name);
        }
    }

    /// Sends a message to all members, and its sender is one of them.
    fn say(&self, name: &str, from: &Client, said: &str) {
        let frame = text(&json!({ "from": from.id().to_string(), "text": said }));
        if let Some(room) = self.0.lock().get(name) {
            room.broadcast(frame);
        }
    }

    /// Sends the number of members and a ping to all members of all rooms.
    fn ping(&self) {
        for room in self.0.lock().values() {
            room.broadcast([count(room), encode(Frame::ping(""))].concat());
        }
    }
}

struct Visitor {
    rooms: Rooms,
    /// The room in which this client is a member. Only a member gets frames.
    room: Option<String>,
}

impl Adapter for Visitor {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        input.set_deadline(Some(Instant::now() + REQUEST_TIME));
        let request = match input.parse(web::parse) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            // A browser may open a connection in advance and not use it.
            Err(_) if input.buffered().is_empty() => return Ok(()),
            Err(error) => {
                client.write(web::short("400 Bad Request"))?;
                return Err(error);
            }
        };
        input.set_deadline(None);
        let (answer, room) = web::answer(&request);
        client.write(answer)?;
        let Some(room) = room else { return Ok(()) };
        client.write(text(&json!({ "you": client.id().to_string() })))?;
        self.room = Some(room.to_owned());
        self.rooms.join(room, client);
        self.chat(client, room, input)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        let Some(room) = self.room.take() else { return };
        self.rooms.leave(&room, client);
        let Some(code) = close_code(reason) else { return };
        let frame = CloseFrame { code, reason: "".into() };
        if let Err(error) = client.write(encode(Frame::close(Some(frame)))) {
            log::debug!("no close frame for client {}: {error}", client.id());
        }
    }
}

impl Visitor {
    /// Reads messages until either side ends the connection. Frames of the socket and frames that other threads
    /// post do not mix, because each of them is one record of the client.
    fn chat(&mut self, client: &Client, room: &str, input: &mut Input) -> Result {
        let limits = WebSocketConfig::default()
            .read_buffer_size(MESSAGE_LIMIT)
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let mut socket = WebSocket::from_raw_socket(input.stream(), Role::Server, Some(limits));
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    self.rooms.say(room, client, &text);
                    // A member that sends all the time is slowed down. No other member waits.
                    std::thread::sleep(Duration::from_millis(10));
                }
                // The next read answers with a close frame, and nothing may follow that.
                Ok(Message::Close(_)) => {
                    self.rooms.leave(room, client);
                    self.room = None;
                }
                // The next read answers a ping. A pong only shows that the peer is there.
                Ok(_) => {}
                // The peer has closed the connection, with or without a close frame.
                Err(Error::ConnectionClosed | Error::Protocol(ResetWithoutClosingHandshake)) => return Ok(()),
                // A stop of the machine also ends here. `closing` gets the reason.
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn count(room: &Group) -> Vec<u8> {
    text(&json!({ "here": room.len() }))
}

fn text(message: &Value) -> Vec<u8> {
    encode(Frame::message(message.to_string(), OpCode::Data(Data::Text), true))
}

fn encode(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).expect("a Vec takes all bytes");
    bytes
}

/// Returns the status code for the peer (RFC 6455, section 7.4.1), or `None` if the peer needs none.
fn close_code(reason: &Closing) -> Option<CloseCode> {
    match reason {
        Closing::Stopping => Some(CloseCode::Away),
        Closing::Failed(error) => match error.downcast_ref()? {
            Error::Capacity(_) => Some(CloseCode::Size),
            Error::Utf8(_) => Some(CloseCode::Invalid),
            Error::Protocol(_) => Some(CloseCode::Protocol),
            _ => None,
        },
        _ => None,
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());
    Backport::run(|machine| {
        let rooms = Rooms::default();
        let pinged = rooms.clone();
        machine.prepare_interval(PING_PERIOD, move |_| pinged.ping());
        let visitor = move || Visitor { rooms: rooms.clone(), room: None };
        let server = TcpServer::new(address, visitor).idle_timeout(SILENCE);
        println!("listening on {}", machine.prepare(server)?.local_addr());
        Ok(())
    })
}
