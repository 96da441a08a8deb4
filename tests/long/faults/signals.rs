//! Signals that are none of ours: interrupted calls, SIGPIPE, a stopped process.

use std::thread;
use std::time::{Duration, Instant};

use crate::host::{each, Host, Setup};
use crate::support::{assert_same, pattern, Peer};

/// Echoes of many sizes, by two clients in turn, with a lull now and then.
#[track_caller]
fn assert_echoes_intact(host: &Host) {
    let peers = host.connect_many(2);
    for size in 0..60 {
        let data = pattern(1 + size * 977);
        peers[size % 2].send(&data);
        assert_same(&peers[size % 2].read(data.len()), &data);
        if size % 20 == 0 {
            thread::sleep(Duration::from_millis(150));
        }
    }
    // More than the sockets take at once: the server's send blocks.
    peers[0].send("!give 3000000");
    let mut all = peers[0].read_to_end();
    assert_eq!(all.split_off(3_000_000), b"closed by the server");
    assert_same(&all, &pattern(3_000_000));
}

#[test]
fn interrupted_calls_lose_nothing() {
    let fault = "recvfrom,sendto,sendmsg,epoll_wait,accept4:error=EINTR:when=3+3";
    let Some(setup) = Setup::new().injecting(fault) else { return };
    let host = setup.start();
    assert_echoes_intact(&host);
    assert_eq!(host.report().get("warnings"), 0);
    host.finish();
}

#[test]
fn a_storm_of_sigusr1_on_every_thread_leaves_the_echo_intact() {
    // The very thread that makes the call gets the signal.
    let fault = "recvfrom,sendto,sendmsg,epoll_wait,accept4:signal=USR1:when=1+2";
    let Some(setup) = Setup::new().set("HANDLE_USR1", 1).injecting(fault) else { return };
    let host = setup.start();
    assert_echoes_intact(&host);
    let trace = host.finish();
    let interrupted =
        trace.lines().filter(|line| line.contains("EINTR") || line.contains("ERESTART")).count();
    assert!(interrupted > 20, "{interrupted} calls were interrupted");
}

#[test]
fn a_storm_of_signals_without_end_keeps_no_idle_timeout_and_no_close_waiting() {
    // Each read is interrupted, so that none ever waits as long as it would.
    let fault = "recvfrom:signal=USR1:when=1+";
    each([false, true], |idle| {
        let setup =
            Setup::new().set("HANDLE_USR1", 1).set("IDLE_TIMEOUT", if idle { 500 } else { 3_600_000 });
        let Some(setup) = setup.injecting(fault) else { return };
        let host = setup.start();
        let peer = host.connect();
        peer.assert_echo(b"x");
        thread::sleep(Duration::from_millis(300));
        let reason = if idle { "idle for too long" } else { "closed by the server" };
        if !idle {
            host.tell("close");
        }
        let start = Instant::now();
        assert_eq!(String::from_utf8(peer.read_to_end()).unwrap(), reason);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        drop(peer);
        host.finish();
    });
}

#[test]
fn a_process_that_is_stopped_and_continued_goes_on() {
    let host = Setup::new().start();
    let peers = host.connect_many(3);
    for round in 0..20 {
        peers.iter().for_each(|peer| peer.assert_echo(b"before"));
        host.signal("STOP");
        peers[round % 3].send(b"while it is stopped");
        host.signal("CONT");
        assert_eq!(peers[round % 3].read(19), b"while it is stopped");
        thread::sleep(Duration::from_millis(20 * (round as u64 % 8)));
    }
    drop(peers);
    host.finish();
}

#[test]
fn sigpipe_at_its_default_does_not_kill_a_server_whose_peers_go_away() {
    let mut doomed = Setup::new().set("DIE_OF_SIGPIPE", 1).start();
    doomed.tell("break_a_pipe");
    doomed.assert_killed_by(13);

    let host = Setup::new().set("DIE_OF_SIGPIPE", 1).start();
    for round in 0..10 {
        let peer = host.connect();
        // Its reply comes when nobody is there: the first write gets RST, the next ones EPIPE.
        peer.send("!flood 8000000");
        peer.read(1000);
        if round % 2 == 0 {
            peer.reset();
        } else {
            drop(peer);
        }
    }
    let posted = host.connect_many(5);
    posted.iter().for_each(|peer| peer.assert_echo(b"x"));
    posted.into_iter().for_each(Peer::reset);
    host.ask("broadcast to those who are gone");
    host.ask("broadcast once more");
    host.finish();
}
