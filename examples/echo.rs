//! Sends back all data that it gets, after the words "Client sent: ". It also prints a tick once a second.
//!
//! Run it:      cargo run --example echo          (on another address: add localhost:9000)
//! Talk to it:  printf hi | nc -N localhost 8000
//! Stop it:     press Ctrl-C

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
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());
    Backport::run(|machine| {
        let server = machine.prepare_tcp_server(address, || Echo)?;
        println!("listening on {}", server.local_addr());
        machine.prepare_interval(Duration::from_secs(1), |_| println!("tick"));
        Ok(())
    })
}
