//! Waiting: epoll that fails, for the acceptor and for the reactor of those who read slowly (P15, P17).

use std::thread;
use std::time::{Duration, Instant};

use crate::host::{each, Host, Setup};
use crate::support::{assert_same, eventually, is_while_busy, pattern, Peer};

/// Longer than a write waits in the system call before it asks the reactor.
const LULL: Duration = Duration::from_millis(250);

/// Waits until nothing has come for a while: the server's write has found no room for so long.
fn wait_until_it_stalls(peer: &Peer) {
    let mut there = vec![std::mem::MaybeUninit::uninit(); 1 << 20];
    let mut before = 0;
    eventually("it stalls", || {
        thread::sleep(LULL);
        let now = peer.stream.socket().peek(&mut there).unwrap();
        std::mem::replace(&mut before, now) == now
    });
}

/// All that the reactor is for: writes that block, backlogs that wait, readers that are told to end.
#[track_caller]
fn assert_serves_slow_readers(host: &Host) {
    const MUCH: usize = 4_000_000;
    let peers = host.connect_many(2);
    // Set, it grows no more: the writes block each time.
    let narrow = |peer: &Peer| peer.stream.socket().set_recv_buffer_size(256 * 1024).unwrap();
    peers.iter().for_each(narrow);
    let expected = pattern(MUCH);
    for _ in 0..3 {
        peers.iter().for_each(|peer| peer.send(format!("!flood {MUCH}")));
        peers.iter().for_each(wait_until_it_stalls);
        peers.iter().for_each(|peer| assert_same(&peer.read(MUCH), &expected));
    }
    for _ in 0..2 {
        let line = "x".repeat(20_000);
        let mut posted = 0;
        while host.report().get("backlog") < 100_000 {
            assert_eq!(host.ask(&format!("broadcast {line}")), "2");
            posted += line.len();
        }
        peers.iter().for_each(|peer| assert!(peer.read(posted).iter().all(|byte| *byte == b'x')));
        host.eventually("the backlog has gone out", |report| report.get("backlog") == 0);
    }
    let start = Instant::now();
    host.tell("close");
    peers.iter().for_each(|peer| assert_eq!(peer.read_to_end(), b"closed by the server"));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(host.report().get("Lost"), 0);
}

#[test]
fn a_reactor_that_cannot_be_started_at_first_is_started_later() {
    // Each thread's first try.
    each(["epoll_create1:error=EMFILE:when=1", "eventfd2:error=ENFILE:when=1"], |fault| {
        let Some(setup) = Setup::new().with_late_reactor().injecting(fault) else { return };
        let host = setup.start();
        let stalled = host.connect();
        stalled.send("!flood 10000000");
        // The write that blocks asks for the reactor again and again.
        eventually("the reactor has been started", || host.has_started_its_reactor());
        assert_same(&stalled.read(10_000_000), &pattern(10_000_000));
        drop(stalled);
        host.eventually("it has left", |report| report.get("current") == 0);
        assert_serves_slow_readers(&host);
        let logged = host.logged();
        assert!(
            !logged.is_empty() && logged.iter().all(|line| line.contains("cannot start the reactor")),
            "{logged:?}"
        );
        host.finish();
    });
}

#[test]
fn a_descriptor_that_cannot_be_watched_is_polled() {
    // The first call of the thread that prepares is the reactor's own.
    each(["ENOMEM", "ENOSPC"], |error| {
        let fault = format!("epoll_ctl:error={error}:when=2+");
        let Some(setup) = Setup::new().injecting(&fault) else { return };
        let host = setup.start();
        assert_serves_slow_readers(&host);
        host.finish();
    });
}

/// With a listener of the server's own, at which the acceptor blocks, and with one that it shares,
/// which it polls.
const LISTENERS: [u64; 2] = [0, 1];

#[test]
fn an_epoll_wait_that_fails_for_a_while_costs_no_client_and_no_server() {
    each(LISTENERS, |shared| {
        let setup = Setup::new().set("SHARED", shared).injecting("epoll_wait:error=ENOMEM:when=2..6");
        let Some(setup) = setup else { return };
        let host = setup.start();
        assert_serves_slow_readers(&host);
        let logged = host.logged();
        let most = if is_while_busy() { 3 } else { 2 };
        assert!(logged.len() <= most && logged.iter().all(|line| line.starts_with("WARN")), "{logged:?}");
        // Both have used their failures up, or soon will have: then nothing polls.
        thread::sleep(Duration::from_secs(2));
        host.finish();
    });
}

#[test]
fn an_epoll_wait_that_fails_for_good_leaves_a_machine_that_polls_and_stops() {
    each(LISTENERS, |shared| {
        let setup = Setup::new().set("SHARED", shared).injecting("epoll_wait:error=ENOMEM:when=1+");
        let Some(setup) = setup else { return };
        let host = setup.start();
        assert_serves_slow_readers(&host);
        let load = host.load(Duration::from_secs(1));
        assert!(load < 0.05, "{:.1} % of a processor", load * 100.0);
        let (said, took) = host.stop();
        assert_eq!(said, "ended ok");
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn an_epoll_wait_that_is_interrupted_each_second_time_loses_nothing() {
    each(LISTENERS, |shared| {
        let setup = Setup::new().set("SHARED", shared).injecting("epoll_wait:error=EINTR:when=1+2");
        let Some(setup) = setup else { return };
        let host = setup.start();
        assert_serves_slow_readers(&host);
        assert_eq!(host.report().get("warnings"), 0);
        host.finish();
    });
}
