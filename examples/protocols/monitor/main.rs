//! A chat, and a monitor that your program can have, too: a live page about it, and numbers for Prometheus.
//!
//! Run it:      cargo run -p protocol-examples --example monitor   (elsewhere: add localhost:9000 ./monitor.sock)
//! Talk to it:  nc localhost 8000        and type: hello, or: name Ann, or: sleep 5
//! Watch it:    open http://localhost:8080/, or: curl localhost:8080/metrics
//! Stop it:     press Ctrl-C

#[path = "../http/http.rs"]
mod http;
mod monitor;
mod numbers;

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use backport::framing::Lines;
use backport::{Adapter, Backport, Client, ClientId, Closing, Input, Result};
use parking_lot::Mutex;

static NAMES: Mutex<BTreeMap<ClientId, String>> = Mutex::new(BTreeMap::new());

fn name(client: &Client) -> String {
    NAMES.lock().get(&client.id()).cloned().unwrap_or_default()
}

struct Member;

impl Adapter for Member {
    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        // The end of the client drops the sender, and wakes a member that sleeps.
        let (sender, ended) = channel::<()>();
        client.on_close(move || drop(sender));
        let mut lines = Lines::default();
        while let Some(line) = input.frame(&mut lines)? {
            let line = String::from_utf8_lossy(line);
            if let Some(name) = line.strip_prefix("name ") {
                NAMES.lock().insert(client.id(), name.chars().take(40).collect());
            } else if let Some(Ok(seconds)) = line.strip_prefix("sleep ").map(str::parse::<u16>) {
                ended.recv_timeout(Duration::from_secs(seconds.into())).expect_err("nothing is sent");
            } else {
                client.server().broadcast(format!("{}: {line}\n", name(client)));
            }
        }
        Ok(())
    }

    fn closing(&mut self, client: &Client, _: &Closing) {
        NAMES.lock().remove(&client.id());
    }
}

fn main() -> Result {
    env_logger::init();
    let argument = |index, default: &str| std::env::args().nth(index).unwrap_or(default.to_owned());
    Backport::run(|machine| {
        let server = machine.prepare_tcp_server(argument(1, "localhost:8000"), || Member)?;
        let place = monitor::prepare(machine, &argument(2, "localhost:8080"), name)?;
        println!("listening on {}\nmonitor on {place}", server.local_addr());
        Ok(())
    })
}
