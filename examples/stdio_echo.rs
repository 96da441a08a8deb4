//! An echo server on standard input and output. Its only client is the program that started it.
//!
//! Run it:      cargo run --example stdio_echo
//! Talk to it:  type a line; or: printf hi | cargo run -q --example stdio_echo
//! Stop it:     end its input with Ctrl-D (on Windows with Ctrl-Z and Enter), or press Ctrl-C

use backport::{Adapter, Backport, Client, Result};

struct Echo;

impl Adapter for Echo {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        client.write(b"Client sent: ")?;
        client.write(data)?;
        Ok(())
    }
}

fn main() -> Result {
    // The log and this line go to stderr, because stdout belongs to the client.
    env_logger::init();
    Backport::run(|machine| {
        machine.prepare_stdio_server(|| Echo)?;
        eprintln!("listening on standard input");
        Ok(())
    })
}
