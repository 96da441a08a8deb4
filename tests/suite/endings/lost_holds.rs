//! What ends a conversation although a hold exists (P21).

use std::io::ErrorKind;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use backport::framing::Lines;
use backport::{Adapter, Client, Hold, Result};
use crossbeam_channel::{unbounded, Receiver, Sender};

use super::holds::serve_holders;
use crate::support::{next, serve_with, Peer, Served, Watch, DEADLINE};

/// Takes a hold for each line, and does what the line says.
struct Told(Sender<Hold>);

impl Adapter for Told {
    fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
        self.0.send(client.hold())?;
        match line {
            b"fail" => return Err("on purpose".into()),
            b"another" => return Err(std::io::Error::from(ErrorKind::ConnectionAborted).into()),
            b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
            b"flood" => client.write(vec![0; 50_000_000])?,
            b"close" => client.close(),
            b"abort" => client.abort(),
            _ => {}
        }
        Ok(())
    }
}

struct Scene {
    served: Served,
    watch: Watch,
    holds: Receiver<Hold>,
    peer: Peer,
}

fn scene() -> Scene {
    let (watch, (sender, holds)) = (Watch::new(), unbounded());
    let watched = watch.clone();
    let factory = move || watched.around(Told(sender.clone())).framed(Lines::default());
    let served = serve_with(factory, |server| {
        server.idle_timeout(Duration::from_millis(700)).write_timeout(Duration::from_millis(700))
    });
    let peer = served.connect();
    Scene { served, watch, holds, peer }
}

#[test]
fn a_close_an_abort_an_error_a_panic_and_the_timeouts_end_a_held_conversation() {
    for (line, reason, counted) in [
        ("close", "ByServer", None),
        ("abort", "ByServer", None),
        ("fail", "Failed", Some("failures")),
        // An error of another connection, for example.
        ("another", "Lost", None),
        ("panic", "Panicked", Some("panics")),
        ("flood", "TooSlow", Some("too slow")),
        ("wait", "Idle", Some("idle timeouts")),
    ] {
        let Scene { served, watch, holds, peer } = scene();
        peer.send(format!("{line}\n"));
        let hold = next(&holds);
        assert_eq!(next(&watch.closed), reason, "{line}");
        assert!(hold.is_closed() && hold.write("x").is_err(), "{line}");
        watch.assert_settled(&served);
        let stats = served.server.stats();
        for (count, name) in [
            (stats.failures, "failures"),
            (stats.panics, "panics"),
            (stats.too_slow, "too slow"),
            (stats.idle_timeouts, "idle timeouts"),
        ] {
            assert_eq!(count, u64::from(counted == Some(name)), "{line}: {name}");
        }
        drop((hold, peer));
        served.stop().unwrap();
    }
}

#[test]
fn a_close_and_an_abort_end_a_conversation_that_only_a_hold_keeps_open() {
    for end in [Client::close as fn(&Client), Client::abort] {
        let Scene { served, watch, holds, peer } = scene();
        peer.send("wait\n");
        peer.half_close();
        let hold = next(&holds);
        end(&hold);
        next(&watch.closed);
        watch.assert_settled(&served);
        drop(hold);
        served.stop().unwrap();
    }
}

#[test]
fn a_reset_by_the_peer_ends_a_held_conversation() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("wait\n");
    let hold = next(&holds);
    hold.0.write("unread").unwrap();
    peer.reset();
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
    drop(hold);
    served.stop().unwrap();
}

#[test]
fn a_reset_by_a_peer_that_has_half_closed_ends_a_held_conversation() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("wait\n");
    peer.half_close();
    let hold = next(&holds);
    hold.0.write("unread").unwrap();
    thread::sleep(Duration::from_millis(100));
    peer.reset();
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
    drop(hold);
    served.stop().unwrap();
}

#[test]
fn a_write_to_a_peer_that_is_gone_ends_a_held_conversation() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("wait\n");
    peer.half_close();
    let (hold, _) = next(&holds);
    peer.reset();
    let start = Instant::now();
    while hold.write("x").is_ok() {
        assert!(start.elapsed() < DEADLINE);
    }
    assert_eq!(next(&watch.closed), "Lost");
    watch.assert_settled(&served);
    drop(hold);
    served.stop().unwrap();
}

#[test]
fn a_leaked_hold_is_cut_at_the_drain_timeout() {
    for half_closes in [false, true] {
        let (served, watch, holds) = serve_holders();
        served.machine().set_drain_timeout(Duration::from_millis(300));
        let peer = served.connect();
        peer.send("x\n");
        mem::forget(next(&holds));
        if half_closes {
            peer.half_close();
        }
        let start = Instant::now();
        served.stop().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
        // The stop may come before the end of input.
        let reason = next(&watch.closed);
        assert!(reason == "Stopping" || (half_closes && reason == "ByPeer"), "{reason}");
        watch.assert_balanced();
    }
}

#[test]
fn stop_now_does_not_wait_for_a_hold() {
    let (served, watch, holds) = serve_holders();
    let peer = served.connect();
    peer.send("x\n");
    let hold = next(&holds);
    served.machine().stop();
    served.machine().stop_now();
    served.join().unwrap();
    assert_eq!(next(&watch.closed), "Stopping");
    drop(hold);
    watch.assert_balanced();
}
