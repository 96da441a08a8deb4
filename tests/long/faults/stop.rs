//! Stops at awkward moments, from awkward places (P8–P10).

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Error, Machine, Result, Running};
use crossbeam_channel::bounded;
use parking_lot::Mutex;

use crate::host::Setup;
use crate::support::{eventually, gate, in_time, next, serve, Echo, Gate, Peer, Watch};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_stop_now_cuts_a_linger_short() {
    let host = Setup::new().start();
    let unread = Peer::connect_narrow(host.address());
    unread.send("!give 1000000");
    host.eventually("it lingers", |report| report.get("closed") == 1 && report.get("current") == 1);
    host.tell("stop");
    let start = Instant::now();
    assert_eq!(host.ask("stop_now"), "ended ok");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_is_suspended_stops_and_those_in_its_queue_see_an_end() {
    let mut host = Setup::new().start();
    let inside = host.connect();
    inside.assert_echo(b"in");
    host.tell("suspend");
    let outside = host.connect();
    outside.send(b"knock");
    host.tell("stop");
    assert_eq!(inside.read_to_end(), b"the server is stopping");
    drop(inside);
    assert_eq!(host.wait(), "ended ok");
    in_time("the end of the one in the queue", move || outside.wait_for_end());
}

#[test]
fn a_stop_among_connects_leaves_no_client_without_an_end() {
    for _ in 0..20 {
        let watch = Watch::new();
        let watched = watch.clone();
        let served = serve(move || watched.around(Echo));
        let address = served.address();
        let connecting: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    let peers = std::iter::from_fn(|| Peer::try_connect(address).ok());
                    peers.take(200).for_each(|peer| peer.wait_for_end());
                })
            })
            .collect();
        drop(next(&watch.opened));
        in_time("the machine stops", move || served.stop()).unwrap();
        watch.assert_balanced();
        in_time("every peer sees its end", move || {
            connecting.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// Drops in `receiving` what it was given, and tells how long that took.
struct Dropper<T> {
    /// First all who drop meet here.
    meeting: Arc<Barrier>,
    what: Arc<Mutex<Option<T>>>,
    took: crossbeam_channel::Sender<Duration>,
}

impl<T: Send + 'static> Adapter for Dropper<T> {
    fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
        self.meeting.wait();
        let what = self.what.lock().take();
        let start = Instant::now();
        drop(what);
        self.took.send(start.elapsed())?;
        Ok(())
    }
}

/// A machine with a server of droppers, what they drop, and how long it took them.
type Dropping<T> = (Running, Peer, Arc<Mutex<Option<T>>>, crossbeam_channel::Receiver<Duration>);

fn dropping<T: Send + 'static>(watch: &Watch, meeting: &Arc<Barrier>) -> Dropping<T> {
    let what: Arc<Mutex<Option<T>>> = Arc::default();
    let (watched, (took, tell)) = (watch.clone(), bounded(9));
    let machine = Machine::new();
    machine.set_drain_timeout(SECOND);
    let held = Arc::clone(&what);
    let meeting = Arc::clone(meeting);
    let factory =
        move || watched.around(Dropper { meeting: meeting.clone(), what: held.clone(), took: took.clone() });
    let server = machine.prepare_tcp_server("127.0.0.1:0", factory).unwrap();
    let running = machine.start().unwrap();
    (running, Peer::connect(server.local_addr()), what, tell)
}

#[test]
fn the_last_handle_of_a_machine_dropped_in_a_callback_is_a_stop() {
    let watch = Watch::new();
    let (running, peer, what, took) = dropping(&watch, &Arc::new(Barrier::new(1)));
    *what.lock() = Some(running);
    peer.send(b"drop it");
    // It waits for itself, and no longer than for the drain timeout.
    assert!(next(&took) < 3 * SECOND);
    peer.wait_for_end();
    assert_eq!(next(&watch.closed), "Stopping");
    watch.assert_balanced();
}

#[test]
fn a_machine_dropped_in_a_callback_of_another_stops_as_ever() {
    let (watch, other_watch) = (Watch::new(), Watch::new());
    let alone = Arc::new(Barrier::new(1));
    let (running, peer, what, took) = dropping::<Running>(&watch, &alone);
    let (other, other_peer, ..) = dropping::<Running>(&other_watch, &alone);
    *what.lock() = Some(other);
    next(&other_watch.opened);
    peer.send(b"drop it");
    assert!(next(&took) < SECOND);
    assert_eq!(other_peer.read_to_end(), b"");
    assert_eq!(next(&other_watch.closed), "Stopping");
    running.stop().unwrap();
    watch.assert_balanced();
}

#[test]
fn two_machines_that_drop_each_other_wait_no_longer_than_their_drain_timeouts() {
    let (watch, other_watch) = (Watch::new(), Watch::new());
    let both = Arc::new(Barrier::new(2));
    let (running, peer, what, took) = dropping::<Running>(&watch, &both);
    let (other, other_peer, other_what, other_took) = dropping::<Running>(&other_watch, &both);
    *what.lock() = Some(other);
    *other_what.lock() = Some(running);
    peer.send(b"drop the other");
    other_peer.send(b"drop the other");
    assert!(next(&took) < 4 * SECOND && next(&other_took) < 4 * SECOND);
    peer.wait_for_end();
    other_peer.wait_for_end();
    eventually("both closings", || watch.closed.len() + other_watch.closed.len() == 2);
}

#[test]
fn a_server_stopped_and_another_prepared_from_a_callback() {
    struct Replace(Machine);
    impl Adapter for Replace {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            let server = self.0.prepare_tcp_server("127.0.0.1:0", || Echo)?;
            client.write_line(server.local_addr().to_string())?;
            // The one that this client belongs to.
            self.0.servers()[0].stop();
            Ok(())
        }
    }
    let machine = Machine::new();
    let own = machine.clone();
    let server = machine.prepare_tcp_server("127.0.0.1:0", move || Replace(own.clone())).unwrap();
    let running = machine.start().unwrap();
    let peer = Peer::connect(server.local_addr());
    peer.send(b"replace yourself");
    let next_one = Peer::connect(peer.read_line().parse::<std::net::SocketAddr>().unwrap());
    assert_eq!(peer.read_to_end(), b"");
    next_one.assert_echo(b"the next one");
    eventually("the first has left", || machine.servers().len() == 1);
    assert!(Peer::try_connect(server.local_addr()).is_err());
    in_time("the machine stops", move || running.stop()).unwrap();
}

/// Blocks in its drop.
struct Clinging {
    gate: Gate,
}

impl Adapter for Clinging {}

impl Drop for Clinging {
    fn drop(&mut self) {
        self.gate.wait();
    }
}

#[test]
fn a_factory_that_blocks_and_a_drop_that_blocks_keep_no_other_client_waiting_and_are_reported() {
    for place in ["factory", "drop"] {
        let (keeper, gate) = gate();
        let watch = Watch::new();
        let (watched, first) = (watch.clone(), Arc::new(Mutex::new(Some(gate))));
        let taken = Arc::clone(&first);
        let served = serve(move || -> Box<dyn Adapter> {
            let Some(gate) = first.lock().take() else { return Box::new(watched.around(Echo)) };
            if place == "factory" {
                gate.wait();
                return Box::new(watched.around(Echo));
            }
            Box::new(watched.around(Clinging { gate }))
        });
        served.machine().set_drain_timeout(SECOND);
        let blocked = served.connect();
        eventually("it has the gate", || taken.lock().is_none());
        blocked.half_close();
        for _ in 0..3 {
            served.assert_echoes();
        }
        let start = Instant::now();
        let error = served.stop().unwrap_err();
        assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
        let Some(Error::Stuck { threads, .. }) = error.downcast_ref() else { panic!("{error}") };
        assert_eq!(threads.len(), 1);
        assert!(threads[0].contains(&blocked.address().to_string()), "{threads:?}");
        drop(keeper);
        watch.assert_balanced();
        blocked.wait_for_end();
    }
}

#[test]
fn an_interval_that_never_returns_is_reported_by_name() {
    let (keeper, gate) = gate();
    let (began, begun) = bounded(1);
    let served = serve(|| Echo);
    served.machine().set_drain_timeout(SECOND / 2);
    served.machine().prepare_timeout(Duration::ZERO, move || {
        began.send(()).unwrap();
        gate.wait();
    });
    next(&begun);
    served.assert_echoes();
    let error = served.stop().unwrap_err();
    assert!(error.to_string().contains("backport-scheduler"), "{error}");
    drop(keeper);
}

#[test]
fn a_closing_that_stops_all_and_panics_is_one_closing() {
    struct Last(Machine);
    impl Adapter for Last {
        fn closing(&mut self, client: &Client, _: &Closing) {
            drop(client.write("last words"));
            client.close();
            client.abort();
            self.0.stop();
            self.0.stop_now();
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let watch = Watch::new();
    let machine = Machine::new();
    let (watched, own) = (watch.clone(), machine.clone());
    let factory = move || watched.around(Last(own.clone()));
    let server = machine.prepare_tcp_server("127.0.0.1:0", factory).unwrap();
    let running = machine.start().unwrap();
    let peers: Vec<_> = (0..5).map(|_| Peer::connect(server.local_addr())).collect();
    peers.iter().for_each(|_| drop(next(&watch.opened)));
    peers[0].half_close();
    in_time("the machine ends", move || running.join()).unwrap();
    peers.iter().for_each(Peer::wait_for_end);
    watch.assert_balanced();
    assert_eq!(watch.closed.len(), 5);
}
