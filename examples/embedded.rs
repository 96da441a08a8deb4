//! A server inside a program with a main loop of its own: here, one that reads commands.
//!
//! Run it:      cargo run --example embedded      (or on another address: … embedded localhost:9000)
//! Talk to it:  nc localhost 8000                 and type commands to the program itself
//! Stop it:     the command quit, or the end of its input (Ctrl-D)

use std::io::{stdin, BufRead};

use backport::{Machine, Result};

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());

    let machine = Machine::new();
    let server = machine.prepare_tcp_server(address, || {
        backport::receiving(|client, data| Ok(client.write(data.to_ascii_uppercase())?))
    })?;
    // Returns at once. It touches no signals: Ctrl-C is the program's own affair, and ends this one.
    let running = machine.start()?;

    println!("listening on {}; commands: list, kick, say …, quit", server.local_addr());
    for line in stdin().lock().lines() {
        match line?.trim() {
            "list" => {
                for client in server.clients() {
                    println!("{} from {}: {:?}", client.id(), client.remote(), client.stats());
                }
            }
            "kick" => server.clients().iter().for_each(|client| client.close()),
            "quit" => break,
            other => match other.strip_prefix("say ") {
                Some(text) => println!("told {} clients", server.broadcast(format!("{text}\n"))),
                None => println!("no such command: {other}"),
            },
        }
    }
    running.stop() // Graceful; it waits. Dropping `running` would do the same, and log an error.
}
