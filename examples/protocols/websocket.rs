//! A WebSocket server that sends each message back. The crate `tungstenite` reads from and writes to the
//! client's stream.
//!
//! Run it:      cargo run -p protocol-examples --example websocket   (on another address: add localhost:9000)
//! Talk to it:  python3 -m websockets ws://localhost:8000     (after pip install websockets)
//!              or in a browser's console: s = new WebSocket("ws://localhost:8000");
//!              s.onmessage = m => console.log(m.data); s.onopen = () => s.send("hi")
//! Stop it:     press Ctrl-C; each peer gets a close frame

use backport::{Adapter, Backport, Client, Closing, Input, Result};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::{coding::CloseCode, CloseFrame, Frame};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{accept_with_config, Error};

/// The largest message in bytes. It limits the memory that a peer can use.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

#[derive(Default)]
struct Echo {
    /// `true` after the handshake. From then on, only frames are sent.
    open: bool,
}

impl Adapter for Echo {
    fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let mut socket = match accept_with_config(input.stream(), Some(limits)) {
            Ok(socket) => socket,
            Err(HandshakeError::Failure(error)) => return Err(error.into()),
            Err(HandshakeError::Interrupted(_)) => unreachable!("the stream blocks"),
        };
        self.open = true;
        loop {
            match socket.read() {
                Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
                // The next read answers a ping with a pong, and a close frame with a close frame.
                Ok(_) => {}
                // The peer has closed the connection, with or without a close frame.
                Err(
                    Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                ) => {
                    return Ok(());
                }
                // A stop of the machine also ends here. `closing` gets the reason.
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        let Some(code) = close_code(reason).filter(|_| self.open) else { return };
        let (frame, mut bytes) = (Frame::close(Some(CloseFrame { code, reason: "".into() })), Vec::new());
        let written = frame.format(&mut bytes).and_then(|()| Ok(client.write(bytes)?));
        if let Err(error) = written {
            log::debug!("no close frame for client {}: {error}", client.id());
        }
    }
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
        let server = machine.prepare_tcp_server(address, Echo::default)?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
