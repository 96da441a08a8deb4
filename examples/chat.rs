//! A chat room. The first line of a client is its nickname. Each later line is sent to all clients that have a
//! nickname.
//!
//! Run it:      cargo run --example chat          (on another address: add localhost:9000)
//! Talk to it:  nc localhost 8000                 in two terminals
//! Stop it:     press Ctrl-C; the server says goodbye to all clients

use std::io::{BufRead, Read};

use backport::{Adapter, Backport, Client, Closing, Group, Input, Result};

struct Member {
    /// A broadcast to a group never waits, so a member that does not read delays no other member.
    room: Group,
    nickname: Option<String>,
}

impl Adapter for Member {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write_line("Your nickname?")?;
        while let Some(line) = read_line(input)? {
            match &self.nickname {
                Some(nickname) => {
                    self.room.broadcast(format!("{nickname}: {line}\n"));
                }
                None if line.is_empty() => client.write_line("Your nickname?")?,
                None => {
                    self.room.join(client);
                    self.room.broadcast(format!("* {line} has come\n"));
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
            self.room.broadcast(format!("* {nickname} has left\n"));
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
        let room = Group::new();
        let server =
            machine.prepare_tcp_server(address, move || Member { room: room.clone(), nickname: None })?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
