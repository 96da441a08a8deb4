//! At a stop, the drain timeout is the only bound of the delivery (P6, P10).

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use backport::{receiving, Adapter, Client, Machine, Result, TcpServer};
use crossbeam_channel::{bounded, Sender};

use crate::readers::{connect, read, Behaviour};
use crate::support::{assert_same, eventually, next, pattern};

/// Writes 20 MB, and tells the test of its client first.
struct Flood(Sender<Client>, Arc<Vec<u8>>);

const SIZE: usize = 20_000_000;
const RATE: usize = 2000;

impl Adapter for Flood {
    fn opening(&mut self, client: &Client) -> Result {
        self.0.send(client.clone())?;
        Ok(client.write(&*self.1)?)
    }
}

/// Stops while the write is under way. Returns what arrived, how long the stop took, and the client.
fn stop_after(limit: Duration, server_alone: bool) -> (Vec<u8>, Duration, Client) {
    let (sender, clients) = bounded(1);
    let (machine, data) = (Machine::new(), Arc::new(pattern(SIZE)));
    machine.set_drain_timeout(limit);
    let factory = move || Flood(sender.clone(), Arc::clone(&data));
    let server = machine.prepare(TcpServer::new("127.0.0.1:0", factory)).unwrap();
    let running = machine.start().unwrap();
    let stream = connect(server.local_addr(), RATE);
    let client = next(&clients);
    let behaviour = Behaviour { rate: RATE, sends_every: None, pause: None };
    let reader = thread::spawn(move || read(&stream, behaviour).0);
    thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    if server_alone {
        server.stop();
        running.join().unwrap();
    } else {
        running.stop().unwrap();
    }
    let took = start.elapsed();
    (reader.join().unwrap(), took, client)
}

#[test]
fn a_write_of_twenty_megabytes_is_whole_within_a_long_drain_timeout() {
    for server_alone in [false, true] {
        let (said, _, _) = stop_after(Duration::from_secs(30), server_alone);
        assert_same(&said, &pattern(SIZE));
    }
}

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        WARNINGS.lock().unwrap().push(record.args().to_string());
    }
    fn flush(&self) {}
}

#[test]
fn what_a_short_drain_timeout_cuts_is_cut_then_and_is_a_warning() {
    log::set_logger(&Keeper).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let limit = Duration::from_secs(3);
    for server_alone in [false, true] {
        let (said, took, client) = stop_after(limit, server_alone);
        assert!(said.len() < SIZE && said == pattern(SIZE)[..said.len()]);
        assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
        let named = format!("client {} from {}", client.id(), client.remote());
        eventually("there is a warning that names the client", || {
            let warnings = WARNINGS.lock().unwrap();
            warnings.iter().any(|text| text.contains("drain timeout of 3s") && text.contains(&named))
        });
    }
}

/// It has read everything, and takes no notice of the end.
#[test]
fn a_peer_that_goes_on_sending_does_not_use_up_the_drain_timeout() {
    let machine = Machine::new();
    machine.set_drain_timeout(Duration::from_secs(60));
    let echo = || receiving(|client, data| Ok(client.write(data)?));
    let server = machine.prepare_tcp_server("127.0.0.1:0", echo).unwrap();
    let running = machine.start().unwrap();
    let peer = connect(server.local_addr(), 1000);
    let reader = peer.try_clone().unwrap();
    let reader = thread::spawn(move || io::copy(&mut &reader, &mut io::sink()).unwrap());
    let sender = thread::spawn(move || {
        while (&peer).write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    running.stop().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(reader.join().unwrap() > 0);
    sender.join().unwrap();
}
