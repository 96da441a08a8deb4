//! Sends back what it gets, and says so; ticks once a second meanwhile.
//!
//! Run it:      cargo run --example echo
//! Talk to it:  printf hi | nc -N localhost 8000
//! Stop it:     Ctrl-C

use std::time::Duration;

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
    env_logger::init();
    Backport::run(|machine| {
        machine.prepare_tcp_server("localhost:8000", || Echo)?;
        machine.prepare_interval(Duration::from_secs(1), |_| println!("tick"));
        Ok(())
    })
}
