//! A server inside a program that has its own main loop. Here the main loop reads commands.
//!
//! Run it:      cargo run --example embedded      (on another address: add localhost:9000)
//! Talk to it:  nc localhost 8000                 and type commands into the terminal of the program
//! Stop it:     type quit, or end the input of the program with Ctrl-D

use std::io::{stdin, BufRead};

use backport::{Machine, Result};

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8000".to_owned());

    let machine = Machine::new();
    let server = machine.prepare_tcp_server(address, || {
        backport::receiving(|client, data| Ok(client.write(data.to_ascii_uppercase())?))
    })?;
    // This returns at once and handles no signals, so Ctrl-C ends this program as usual.
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
    running.stop() // Stops the machine and waits. Dropping `running` would do the same, but only log an error.
}
