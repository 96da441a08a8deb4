//! A stop against what takes its time: callbacks, peers, drops (P9, P10).

use std::cell::RefCell;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Error, Machine, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, gate, next, prepare, serve, serve_with, Echo, Gate, Peer, Watch};

#[test]
fn a_stuck_callback_is_reported_and_its_closing_follows() {
    struct Stuck(Sender<()>, Gate);
    impl Adapter for Stuck {
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            self.0.send(())?;
            self.1.wait();
            Ok(())
        }
    }
    let watch = Watch::new();
    let (keeper, gate) = gate();
    let (sender, stuck) = unbounded();
    let watched = watch.clone();
    let served = serve(move || watched.around(Stuck(sender.clone(), gate.clone())));
    served.machine().set_drain_timeout(Duration::from_secs(1));
    let peer = served.connect();
    let client = next(&watch.opened);
    peer.send(b"x");
    next(&stuck);
    let bystander = served.connect();
    next(&watch.opened);
    let start = Instant::now();
    let machine = served.machine().clone();
    let error = served.stop().unwrap_err();
    let took = start.elapsed();
    assert_eq!(machine.stats().clients.accepted, 2, "what was counted stays");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_millis(1500 + 1000), "half a second past the limit: {took:?}");
    let Some(Error::Stuck { threads, .. }) = error.downcast_ref::<Error>() else { panic!("{error}") };
    assert_eq!(threads.len(), 1);
    assert!(threads[0].contains(&format!("client {} ", client.id())), "{threads:?}");
    assert!(threads[0].contains(&peer.shown()), "{threads:?}");
    assert_eq!(bystander.read_to_end(), b"");
    assert_eq!(next(&watch.closed), "Stopping", "the bystander's");
    assert!(watch.closed.is_empty());
    drop(keeper);
    assert_eq!(next(&watch.closed), "Stopping", "the stuck one's, later");
}

#[test]
fn a_worker_blocked_in_a_write_does_not_hold_up_the_stop() {
    struct Flood(Sender<()>);
    impl Adapter for Flood {
        fn opening(&mut self, client: &Client) -> Result {
            self.0.send(())?;
            Ok(client.write(vec![0; 50_000_000])?)
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (sender, writing) = unbounded();
    let served = serve(move || watched.around(Flood(sender.clone())));
    let _stalled = served.connect();
    next(&writing);
    thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    served.stop().unwrap();
    assert!(start.elapsed() < Duration::from_millis(5500), "{:?}", start.elapsed());
    watch.assert_balanced();
}

#[test]
fn a_stop_that_escalates_does_not_wait_for_peers() {
    ends_at_once(|machine| {
        machine.stop();
        machine.stop_now();
    });
}

#[test]
fn a_stop_that_is_told_so_does_not_wait_for_peers() {
    ends_at_once(Machine::stop_now);
}

/// Asserts that a machine that is stopped so ends, whose client takes a minute to read what it got.
#[track_caller]
fn ends_at_once(stop: fn(&Machine)) {
    struct Flood(Sender<()>);
    impl Adapter for Flood {
        fn opening(&mut self, client: &Client) -> Result {
            client.post(vec![0; 16_000_000])?;
            Ok(self.0.send(())?)
        }
    }
    let watch = Watch::new();
    let watched = watch.clone();
    let (sender, posted) = unbounded();
    let factory = move || watched.around(Flood(sender.clone()));
    let served = serve_with(factory, |server| server.max_backlog(20_000_000));
    let peer = Peer::connect_narrow(served.address());
    next(&posted);
    // It reads, and would do so for a minute and more: a graceful stop waits for it as long as it may.
    let reader = thread::spawn(move || {
        while io::Read::read(&mut &peer.stream, &mut [0; 4096]).is_ok_and(|count| count > 0) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    stop(served.machine());
    served.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "it lingered: {:?}", start.elapsed());
    watch.assert_balanced();
    reader.join().unwrap();
}

#[test]
fn a_server_whose_factory_takes_long_to_drop_holds_up_no_other() {
    struct Slow(Gate);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    let served = serve(|| Echo);
    let (keeper, gate) = gate();
    let slow = Slow(gate);
    let factory = move || {
        let _part_of_it = &slow;
        Echo
    };
    let other = prepare(served.machine(), factory);
    let peer = other.connect();
    peer.assert_echo(b"in");
    other.stop();
    assert_eq!(peer.read_to_end(), b"");
    // Its worker drops the factory, unless the acceptor does.
    for _ in 0..5 {
        served.assert_echoes();
    }
    drop(keeper);
    served.stop().unwrap();
}

/// Calls a function when a thread drops its thread-locals.
struct AtThreadEnd(Box<dyn Fn()>);

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
    static AT_END: RefCell<Option<AtThreadEnd>> = const { RefCell::new(None) };
}

/// An echo whose threads call `f` at their end.
fn at_thread_end(f: impl Fn() + Clone + Send + 'static) -> impl Adapter {
    backport::receiving(move |client, data| {
        let f = f.clone();
        AT_END.with(|slot| *slot.borrow_mut() = Some(AtThreadEnd(Box::new(f))));
        Ok(client.write(data)?)
    })
}

/// One after another, these destructors would take ten seconds, and the drain timeout is half of that.
#[test]
fn slow_thread_locals_of_many_threads_take_their_time_together() {
    let served = serve(|| at_thread_end(|| thread::sleep(Duration::from_millis(50))));
    let peers: Vec<_> = (0..200).map(|_| served.connect()).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"in"));
    served.stop().unwrap();
}

#[test]
fn a_thread_local_whose_drop_hangs_is_counted_and_reported_and_delays_no_other_thread() {
    let (keeper, gate) = gate();
    let (sender, hangs) = unbounded();
    let served = serve(move || {
        let (gate, sender) = (gate.clone(), sender.clone());
        at_thread_end(move || {
            // The first of them hangs.
            if sender.send(()).is_ok() {
                gate.wait();
            }
        })
    });
    served.machine().set_drain_timeout(Duration::from_secs(1));
    served.assert_echoes();
    let with_one_worker = served.machine().stats().threads;
    // Its worker ends after its time in the pool.
    next(&hangs);
    drop(hangs);
    for _ in 0..3 {
        served.assert_echoes();
    }
    eventually("the later workers have ended, and the first is counted", || {
        served.machine().stats().threads == with_one_worker
    });
    let error = served.stop().unwrap_err();
    let Some(Error::Stuck { threads, .. }) = error.downcast_ref::<Error>() else { panic!("{error}") };
    assert_eq!(threads.len(), 1, "{threads:?}");
    assert!(threads[0].starts_with("backport-worker-"), "{threads:?}");
    drop(keeper);
}
