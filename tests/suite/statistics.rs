//! The statistics of clients and servers: what a client does, and how clients have ended.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use backport::framing::Lines;
use backport::{Adapter, Client, Closing, Input, Result};

use crate::support::{eventually, gate, next, serve, serve_with, Gate, Served, Watch};

const MS: Duration = Duration::from_millis(1);
/// What a test waits for, so that a time can be told from none.
const WHILE: Duration = Duration::from_millis(150);
/// How late the clock of the statistics may be.
const COARSE: Duration = Duration::from_millis(20);

/// Waits at its gate where it is told to.
struct Blocks {
    place: &'static str,
    gate: Gate,
}

impl Blocks {
    fn at(&self, place: &str) {
        if self.place == place {
            self.gate.wait();
        }
    }
}

impl Adapter for Blocks {
    fn opening(&mut self, client: &Client) -> Result {
        self.at("opening");
        Ok(client.write("!")?)
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        if self.place == "deadline" {
            input.set_deadline(Some(Instant::now() + WHILE));
            assert_eq!(input.chunk().unwrap_err().kind(), ErrorKind::TimedOut);
            self.at("deadline");
            input.set_deadline(None);
        }
        while let Some(data) = input.chunk()? {
            self.at("receiving");
            client.write(data)?;
        }
        self.at("end of input");
        Ok(())
    }

    fn closing(&mut self, _: &Client, _: &Closing) {
        self.at("closing");
    }
}

/// Returns for how long nothing has arrived from the only client, and for how long its adapter is at work.
fn activity(served: &Served) -> (Duration, Option<Duration>) {
    let stats = served.server.clients()[0].stats();
    (stats.idle_for, stats.in_callback_for)
}

#[test]
fn a_client_that_waits_is_idle_since_its_last_input_and_in_no_callback() {
    let (_keeper, gate) = gate();
    let served = serve(move || Blocks { place: "nowhere", gate: gate.clone() });
    let peer = served.connect();
    peer.read(1);
    thread::sleep(WHILE);
    eventually("it waits", || activity(&served).1.is_none());
    assert!(activity(&served).0 >= WHILE - COARSE, "{:?}", activity(&served));
    let sent = Instant::now();
    peer.assert_echo(b"x");
    eventually("it waits again", || activity(&served).1.is_none());
    assert!(activity(&served).0 <= sent.elapsed() + COARSE);
    served.stop().unwrap();
}

#[test]
fn each_callback_that_blocks_is_shown_with_its_time() {
    for place in ["opening", "receiving", "deadline", "end of input", "closing"] {
        let (keeper, gate) = gate();
        let served = serve(move || Blocks { place, gate: gate.clone() });
        let start = Instant::now();
        let peer = served.connect();
        if place != "opening" {
            peer.read(1);
        }
        let connected = Instant::now();
        match place {
            "receiving" => peer.send("x"),
            "end of input" | "closing" => peer.half_close(),
            _ => {}
        }
        eventually("its client is there", || !served.server.clients().is_empty());
        let long_enough = || activity(&served).1.is_some_and(|time| time >= WHILE);
        eventually(place, long_enough);
        let (idle, Some(working)) = activity(&served) else { panic!("{place}: no callback") };
        assert!(working <= start.elapsed() + COARSE, "{place}: {working:?}");
        if place == "deadline" {
            // The wait until the deadline is no work.
            assert!(idle >= working + WHILE - COARSE, "{idle:?} {working:?}");
            assert!(connected.elapsed() >= 2 * WHILE);
        }
        drop(keeper);
        if matches!(place, "opening" | "receiving") {
            peer.read(1);
        }
        if !matches!(place, "end of input" | "closing") {
            peer.assert_echo(b"still there?");
            eventually("it waits", || activity(&served).1.is_none());
        }
        served.stop().unwrap();
    }
}

/// Does what a line says.
struct Told;

impl Adapter for Told {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        match line {
            b"fail" => return Err("on purpose".into()),
            b"lose" => return Err(std::io::Error::from(ErrorKind::ConnectionReset).into()),
            b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
            b"flood" => client.write(vec![0; 50_000_000])?,
            b"close" => client.close(),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn each_of_the_eight_reasons_is_counted() {
    let watch = Watch::new();
    let watched = watch.clone();
    let factory = move || watched.around(Told).framed(Lines::default());
    let served = serve_with(factory, |server| server.idle_timeout(700 * MS).write_timeout(700 * MS));
    let told = [
        ("wait", "Idle"),
        ("flood", "TooSlow"),
        ("close", "ByServer"),
        ("fail", "Failed"),
        ("lose", "Lost"),
        ("panic", "Panicked"),
    ];
    let all = ["ByPeer", "ByServer", "Stopping", "Idle", "TooSlow", "Lost", "Failed", "Panicked"];
    // Each reason comes more often than the one before, so that no two counters are mistaken for each other.
    for (index, (line, wanted)) in told.into_iter().enumerate() {
        for _ in 0..=index {
            let peer = served.connect();
            peer.send(format!("{line}\n"));
            assert_eq!(next(&watch.closed), wanted, "{line}");
        }
    }
    for _ in 0..7 {
        served.connect().half_close();
        assert_eq!(next(&watch.closed), "ByPeer");
    }
    served.wait_until_empty();
    served.server.set_idle_timeout(None);
    let peers: Vec<_> = (0..8).map(|_| served.connect()).collect();
    eventually("they are open", || served.server.client_count() == 8);
    let machine = served.machine().clone();
    served.stop().unwrap();
    drop(peers);
    watch.assert_balanced();
    let stats = machine.stats().clients;
    let counted = [
        stats.by_peer,
        stats.by_server,
        stats.stopping,
        stats.idle_timeouts,
        stats.too_slow,
        stats.lost,
        stats.failures,
        stats.panics,
    ];
    assert_eq!(counted, [7, 3, 8, 1, 2, 5, 4, 6], "{all:?}");
    assert_eq!(counted.iter().sum::<u64>(), stats.accepted);
}
