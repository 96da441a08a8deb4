//! A chat room. The first line of a client is its nickname, and each later line is sent to all clients.
//!
//! Run it:      cargo run --example chat          (on another address: add localhost:9000)
//! Talk to it:  nc localhost 8000                 in two terminals
//! Stop it:     press Ctrl-C; the server says goodbye to all clients

use std::io::{BufRead, Read};
use std::sync::{Arc, OnceLock};

use backport::{Adapter, Backport, Client, Closing, Input, Result, TcpHandle};

/// The server that broadcasts. It is set when the server is prepared, before the first client connects.
type Room = Arc<OnceLock<TcpHandle>>;

struct Member {
    room: Room,
    nickname: Option<String>,
}

impl Member {
    fn tell_all(&self, line: String) {
        // A broadcast never waits, so a member that does not read delays no other member.
        if let Some(server) = self.room.get() {
            server.broadcast(line);
        }
    }
}

impl Adapter for Member {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write_line("Your nickname?")?;
        while let Some(line) = read_line(input)? {
            match &self.nickname {
                Some(nickname) => self.tell_all(format!("{nickname}: {line}\n")),
                None if line.is_empty() => client.write_line("Your nickname?")?,
                None => {
                    self.tell_all(format!("* {line} has come\n"));
                    self.nickname = Some(line);
                }
            }
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        if let Closing::Stopping = reason {
            if let Err(error) = client.write_line("* the room closes, goodbye") {
                log::debug!("no goodbye for client {}: {error}", client.id());
            }
        } else if let Some(nickname) = &self.nickname {
            self.tell_all(format!("* {nickname} has left\n"));
        }
    }
}

/// Reads a line of at most 1,000 bytes, without the characters that control a terminal. Returns `None` at
/// the end of input.
fn read_line(input: &mut Input) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let end_of_input = input.take(1000).read_until(b'\n', &mut bytes)? == 0;
    let line = String::from_utf8_lossy(&bytes).replace(char::is_control, "");
    Ok((!end_of_input).then_some(line))
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());
    Backport::run(|machine| {
        let room = Room::default();
        let theirs = room.clone();
        let server =
            machine.prepare_tcp_server(address, move || Member { room: theirs.clone(), nickname: None })?;
        println!("listening on {}", server.local_addr());
        room.get_or_init(|| server);
        Ok(())
    })
}
