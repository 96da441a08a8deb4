//! A web server: pages, a form's data, and events.
//!
//! Run it:      cargo run -p protocol-examples --example http   (on another address: add localhost:9000)
//! Talk to it:  curl localhost:8080/
//!              curl -d hello localhost:8080/echo
//!              curl -N localhost:8080/events
//! Stop it:     press Ctrl-C; requests that are under way are answered

mod http;

use std::time::Duration;

use backport::{Adapter, Backport, Client, Group, Input, Result};
use http::Answer::{self, Events, Page};

struct Site {
    ticks: Group,
}

impl Adapter for Site {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        http::serve(client, input, |request| match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/") => text("200 OK", "Hello.\n"),
            ("GET" | "HEAD", "/slow") => {
                // Only the thread of this client waits.
                std::thread::sleep(Duration::from_secs(1));
                text("200 OK", "That took a second.\n")
            }
            ("GET", "/events") => Events(self.ticks.clone()),
            ("POST", "/echo") => Page("200 OK", "Content-Type: application/octet-stream", request.body),
            (_, "/" | "/slow" | "/events" | "/echo") => {
                text("405 Method Not Allowed", "Not for that path.\n")
            }
            _ => text("404 Not Found", "There is nothing.\n"),
        })
    }
}

fn text(status: &'static str, text: &str) -> Answer {
    Page(status, "Content-Type: text/plain; charset=utf-8", text.into())
}

fn main() -> Result {
    env_logger::init();
    let address = std::env::args().nth(1).unwrap_or("localhost:8080".to_owned());
    Backport::run(|machine| {
        let ticks = Group::new();
        let (clock, mut count) = (ticks.clone(), 0);
        machine.prepare_interval(Duration::from_millis(500), move |_| {
            count += 1;
            clock.broadcast(format!("data: {count}\n\n"));
        });
        let server = machine.prepare_tcp_server(address, move || Site { ticks: ticks.clone() })?;
        println!("listening on {}", server.local_addr());
        Ok(())
    })
}
