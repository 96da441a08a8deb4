//! What the tests share: a machine on loopback, peers to talk to it, and deadlines.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part of it")]

#[cfg(unix)]
pub(crate) mod child;
#[cfg(feature = "over-tls")]
pub(crate) mod encrypted;
#[cfg(feature = "over-tls")]
pub(crate) mod identity;
pub(crate) mod peer;
pub(crate) mod transport;
pub(crate) mod watch;

use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Machine, Result, Running, TcpHandle, TcpServer};
use crossbeam_channel::{bounded, Receiver, Sender};

pub(crate) use peer::{narrow, Peer};
pub(crate) use transport::{
    free, has_resets, is_while_busy, prepare, prepare_at, prepare_with, threads, try_prepare, Address,
    Listening, Listens, Prepare, Settings,
};
pub(crate) use watch::{Echo, Watch};

/// The one deadline: for what must happen, however loaded the computer is.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Calls `f` on a thread of its own, and fails if it doesn't come back.
#[track_caller]
pub(crate) fn in_time<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = bounded(1);
    let thread = thread::spawn(move || drop(sender.send(f())));
    match receiver.recv_timeout(DEADLINE) {
        Ok(value) => value,
        Err(error) if error.is_timeout() => panic!("not within {DEADLINE:?}: {what}"),
        Err(_) => std::panic::resume_unwind(thread.join().expect_err("it sends unless it panics")),
    }
}

/// The next message, within the deadline.
#[track_caller]
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    match receiver.recv_timeout(DEADLINE) {
        Ok(value) => value,
        Err(error) => panic!("no message within {DEADLINE:?}: {error}"),
    }
}

/// Asserts that nothing comes, for a short while.
#[track_caller]
pub(crate) fn nothing<T: std::fmt::Debug>(receiver: &Receiver<T>) {
    if let Ok(value) = receiver.recv_timeout(Duration::from_millis(200)) {
        panic!("this should not have come: {value:?}");
    }
}

/// A gate that whoever waits at it passes once its keeper drops. The keeper, and the gate.
pub(crate) fn gate() -> (Sender<()>, Gate) {
    let (keeper, gate) = bounded(0);
    (keeper, Gate(gate))
}

/// Where a callback waits until its test lets it go on.
#[derive(Clone)]
pub(crate) struct Gate(Receiver<()>);

impl Gate {
    pub(crate) fn wait(&self) {
        // An error is what is waited for: nothing is ever sent.
        assert!(
            self.0.recv_timeout(DEADLINE).is_err_and(|error| error.is_disconnected()),
            "the gate stayed shut"
        );
    }
}

/// A machine that runs one server. Dropping it stops it.
pub(crate) struct Served<H = Listening> {
    pub(crate) server: H,
    running: Running,
}

/// A machine that runs one TCP server, with the handle that only such a server has.
pub(crate) type ServedTcp = Served<TcpHandle>;

/// Serves `factory`'s adapters at a free address of this run's transport.
pub(crate) fn serve<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) -> Served {
    serve_at(transport::free(), factory, Settings::default())
}

/// As `serve`, with the settings that `set` makes.
pub(crate) fn serve_with<A: Adapter>(
    factory: impl Fn() -> A + Send + Sync + 'static,
    set: impl FnOnce(Settings) -> Settings,
) -> Served {
    serve_at(transport::free(), factory, set(Settings::default()))
}

/// As `serve_with`, but in plain text, also in the run over TLS: for what is said before a handshake.
pub(crate) fn serve_plain_with<A: Adapter>(
    factory: impl Fn() -> A + Send + Sync + 'static,
    set: impl FnOnce(Settings) -> Settings,
) -> Served {
    serve_at(transport::free_plain(), factory, set(Settings::default()))
}

/// As `serve`, but always over TCP: for what is TCP's own, such as a reset and a narrow window.
pub(crate) fn serve_tcp<A: Adapter>(factory: impl Fn() -> A + Send + Sync + 'static) -> Served {
    serve_at(transport::tcp(), factory, Settings::default())
}

/// As `serve_tcp`, with any settings that such a server has.
pub(crate) fn serve_tcp_with<A: Adapter, F: Fn() -> A + Send + Sync + 'static>(
    factory: F,
    set: impl FnOnce(TcpServer<F>) -> TcpServer<F>,
) -> ServedTcp {
    let machine = Machine::new();
    let server = TcpServer::new("127.0.0.1:0", factory).threads(threads());
    let server = machine.prepare(set(server)).unwrap();
    Served { server, running: machine.start().unwrap() }
}

fn serve_at<A: Adapter>(
    address: Address,
    factory: impl Fn() -> A + Send + Sync + 'static,
    settings: Settings,
) -> Served {
    let machine = Machine::new();
    let server = transport::prepare_at(&machine, address, factory, settings).unwrap();
    Served { server, running: machine.start().unwrap() }
}

impl Served {
    pub(crate) fn new(server: impl Into<Listening>, running: Running) -> Served {
        Served { server: server.into(), running }
    }
}

impl<H: Listens> Served<H> {
    pub(crate) fn machine(&self) -> &Machine {
        self.running.machine()
    }

    pub(crate) fn address(&self) -> H::Address {
        self.server.address()
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// Stops it gracefully and waits for it.
    #[track_caller]
    pub(crate) fn stop(self) -> Result {
        in_time("the machine stops", move || self.running.stop())
    }

    /// Waits until it has stopped for another cause.
    #[track_caller]
    pub(crate) fn join(self) -> Result {
        in_time("the machine ends", move || self.running.join())
    }

    /// Waits until no client is left in the registry.
    #[track_caller]
    pub(crate) fn wait_until_empty(&self) {
        eventually("every client has left", || {
            self.server.client_count() == 0 && self.server.clients().is_empty()
        });
    }

    /// A fresh client is served: the check after each scenario. For servers that echo.
    #[track_caller]
    pub(crate) fn assert_echoes(&self) {
        self.connect().assert_echo(b"still there?");
    }
}

/// `count` bytes that differ from place to place, so that loss and disorder show.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Compares long byte strings without printing them.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    let differ = got.iter().zip(expected).position(|(a, b)| a != b);
    assert!(differ.is_none(), "the bytes differ from {differ:?} on");
    assert_eq!(got.len(), expected.len(), "the length differs");
}
