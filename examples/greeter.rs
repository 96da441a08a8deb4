//! A conversation in straight-line code. The server asks, waits for the answer, and greets.
//!
//! Run it:      cargo run --example greeter       (on another address: add localhost:9000)
//! Talk to it:  nc localhost 8000
//! Stop it:     press Ctrl-C; in the middle of a conversation, `read_line` then fails

use std::io::{BufRead, Read};

use backport::{Adapter, Backport, Client, Input, Result};

struct Greeter;

impl Adapter for Greeter {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        client.write_line("What is your name?")?;
        let mut name = String::new();
        // The name comes from strangers. Without the limit, a line that never ends would take more and more
        // memory.
        input.take(1024).read_line(&mut name)?;
        client.write_line(format!("Hello, {}!", name.trim()))?;
        Ok(()) // The connection is closed when `serving` returns.
    }
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());
    Backport::run(|machine| {
        let server = machine.prepare_tcp_server(address, || Greeter)?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
