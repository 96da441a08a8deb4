//! The end of a machine or a server (P9, P10, P12).

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Backport, Client, Closing, Error, Machine, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{
    eventually, free, gate, in_time, next, prepare, prepare_at, serve, serve_with, try_prepare, Echo, Gate,
    Peer, Served, Settings, Watch, DEADLINE,
};
use crate::FRONT_DOOR;

/// Stops its machine in one of its callbacks.
struct StopIn(&'static str, Machine);

impl StopIn {
    fn at(&self, place: &str) -> Result {
        if self.0 == place {
            self.1.stop();
        }
        Ok(())
    }
}

impl Adapter for StopIn {
    fn opening(&mut self, _: &Client) -> Result {
        self.at("opening")
    }
    fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
        self.at("receiving")
    }
    fn closing(&mut self, _: &Client, _: &Closing) {
        self.at("closing").unwrap();
    }
}

#[test]
fn stop_from_each_callback_ends_the_machine() {
    for place in ["factory", "opening", "receiving", "closing"] {
        let (watch, machine) = (Watch::new(), Machine::new());
        let (watched, stopping) = (watch.clone(), machine.clone());
        let factory = move || {
            let adapter = StopIn(place, stopping.clone());
            adapter.at("factory").unwrap();
            watched.around(adapter)
        };
        let server = prepare(&machine, factory);
        let running = machine.start().unwrap();
        let peer = server.connect();
        if place == "receiving" {
            peer.send(b"stop");
        }
        if place == "closing" {
            drop(peer);
        } else {
            peer.wait_for_end();
        }
        in_time(place, move || running.join()).unwrap();
        watch.assert_balanced();
    }
}

#[test]
fn stop_from_a_timeout_or_a_thread_ends_the_machine() {
    let served = serve(|| Echo);
    let machine = served.machine().clone();
    served.machine().prepare_timeout(Duration::from_millis(5), move || machine.stop());
    served.join().unwrap();

    let served = serve(|| Echo);
    let machine = served.machine().clone();
    thread::spawn(move || machine.stop()).join().unwrap();
    served.join().unwrap();
}

#[test]
fn stop_from_eight_threads_at_once_ends_the_machine() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let _peers: Vec<_> = (0..4).map(|_| served.connect()).collect();
    (0..4).for_each(|_| drop(next(&watch.opened)));
    let together = Arc::new(Barrier::new(8));
    let stoppers: Vec<_> = (0..8)
        .map(|_| {
            let (machine, together) = (served.machine().clone(), together.clone());
            thread::spawn(move || {
                together.wait();
                machine.stop();
            })
        })
        .collect();
    stoppers.into_iter().for_each(|stopper| stopper.join().unwrap());
    served.join().unwrap();
    watch.assert_balanced();
}

#[test]
fn a_stop_lets_callbacks_finish_while_new_clients_are_refused() {
    struct Busy(Sender<()>, Gate);
    impl Adapter for Busy {
        fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
            client.write("begun, ")?;
            self.0.send(())?;
            self.1.wait();
            Ok(())
        }
        fn closing(&mut self, client: &Client, reason: &Closing) {
            client.write(format!("goodbye: {reason}")).unwrap();
        }
    }
    let (keeper, gate) = gate();
    let (sender, busy) = unbounded();
    let served = serve(move || Busy(sender.clone(), gate.clone()));
    let (peer, address) = (served.connect(), served.address());
    let job = served.machine().prepare_interval(Duration::from_secs(3600), |_| ());
    peer.send(b"x");
    next(&busy);
    served.machine().stop();
    assert!(served.machine().is_stopped());
    eventually("new clients are refused", || address.refuses());
    eventually("intervals are cancelled", || job.is_stopped());
    let refused = try_prepare(served.machine(), || Echo, Settings::default()).unwrap_err();
    assert!(refused.to_string().contains("stopp"), "{refused}");
    drop(keeper);
    assert_eq!(peer.read_to_end(), b"begun, goodbye: the server is stopping");
    served.join().unwrap();
}

#[test]
fn a_machine_runs_once_and_says_so() {
    let kind = |result: Result| match result.unwrap_err().downcast_ref::<Error>() {
        Some(Error::AlreadyRunning) => "running",
        Some(Error::AlreadyRan) => "ran",
        _ => "another",
    };
    let served = serve(|| Echo);
    let machine = served.machine().clone();
    assert_eq!(kind(machine.run()), "running");
    assert_eq!(kind(machine.start().map(drop)), "running");
    served.assert_echoes();
    served.stop().unwrap();
    assert_eq!(kind(machine.run()), "ran");
    assert_eq!(kind(machine.start().map(drop)), "ran");
}

#[test]
fn a_machine_stopped_before_it_runs_returns_at_once() {
    let machine = Machine::new();
    let address = prepare(&machine, || Echo).address;
    machine.stop();
    assert!(machine.is_stopped());
    address.assert_free();
    in_time("run returns", move || machine.run()).unwrap();
}

#[test]
fn a_machine_with_nothing_prepared_returns_at_once() {
    in_time("run returns", || Machine::new().run()).unwrap();
    let _door = FRONT_DOOR.lock();
    in_time("run returns", || Backport::run(|_| Ok(()))).unwrap();
}

#[test]
fn a_setup_that_fails_leaves_nothing_bound() {
    let _door = FRONT_DOOR.lock();
    let mut bound = None;
    let error = Backport::run(|machine| {
        // A factory that holds its own machine, as one that stops it would.
        let machine_too = machine.clone();
        let factory = move || StopIn("receiving", machine_too.clone());
        bound = Some(try_prepare(machine, factory, Settings::default())?.address);
        machine.prepare_interval(Duration::from_millis(1), |_| ());
        Err("the setup's own".into())
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "the setup's own");
    bound.unwrap().assert_free();
}

#[test]
fn a_machine_dropped_before_it_ran_leaves_nothing_bound() {
    let machine = Machine::new();
    let address = prepare(&machine, || Echo).address;
    drop(machine);
    address.assert_free();
}

#[test]
fn dropping_the_last_handle_of_a_live_machine_is_a_stop() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Echo));
    let (peer, address) = (served.connect(), served.address());
    next(&watch.opened);
    in_time("the drop returns", move || drop(served));
    assert_eq!(next(&watch.closed), "Stopping");
    watch.assert_balanced();
    assert_eq!(peer.read_to_end(), b"");
    address.assert_free();
}

#[test]
fn backport_stop_stops_the_machine_of_run() {
    let _door = FRONT_DOOR.lock();
    Backport::stop();
    let (sender, ready) = unbounded();
    let thread = thread::spawn(move || {
        Backport::run(move |machine| {
            sender.send(try_prepare(machine, || Echo, Settings::default())?)?;
            Ok(())
        })
    });
    let server = next(&ready);
    server.connect().assert_echo(b"up");
    let second = Backport::run(|_| Ok(())).unwrap_err();
    assert!(matches!(second.downcast_ref(), Some(Error::AlreadyRunning)), "{second}");
    Backport::stop();
    in_time("run returns", move || thread.join().unwrap()).unwrap();
}

#[test]
fn a_client_in_the_listen_queue_at_the_stop_sees_an_end() {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve_with(move || watched.around(Echo), |server| server.max_clients(1));
    let first = served.connect();
    next(&watch.opened);
    let queued = served.connect();
    queued.send(b"hello?");
    served.stop().unwrap();
    assert_eq!(first.read_to_end(), b"");
    queued.wait_for_end();
    assert!(watch.opened.is_empty());
    watch.assert_balanced();
}

#[test]
fn the_same_address_is_bound_fifty_times_with_time_wait_around() {
    let mut address = free();
    for _ in 0..50 {
        let machine = Machine::new();
        let factory =
            || backport::receiving(|client, data| Ok(client.write(data).map(|()| client.close())?));
        address = prepare_at(&machine, address, factory, Settings::default()).unwrap().address;
        let running = machine.start().unwrap();
        // The server closes first, so TIME_WAIT is on its side.
        let peer = Peer::connect(address);
        peer.assert_echo(b"x");
        assert_eq!(peer.read_to_end(), b"");
        drop(peer);
        in_time("the machine stops", || running.stop()).unwrap();
    }
}

#[test]
fn stopping_one_of_two_servers_closes_its_clients_alone() {
    let (one, two) = (Watch::new(), Watch::new());
    let (first, second) = (one.clone(), two.clone());
    let served: Served = serve(move || first.around(Echo));
    let other = prepare(served.machine(), move || second.around(Echo));
    let stays: Vec<_> = (0..5).map(|_| served.connect()).collect();
    let goes: Vec<_> = (0..5).map(|_| other.connect()).collect();
    (0..5).for_each(|_| drop((next(&one.opened), next(&two.opened))));
    other.stop();
    for peer in &goes {
        assert_eq!(peer.read_to_end(), b"");
        assert_eq!(next(&two.closed), "Stopping");
    }
    stays.iter().for_each(|peer| peer.assert_echo(b"not me"));
    assert!(one.closed.is_empty());
    eventually("it has left", || served.machine().servers().len() == 1);
    other.address.assert_free();
    two.assert_balanced();
    served.stop().unwrap();
    one.assert_balanced();
}

#[test]
fn an_absurd_drain_timeout_is_no_trouble() {
    let served = serve(|| Echo);
    served.machine().set_drain_timeout(Duration::MAX);
    let peer = served.connect();
    peer.assert_echo(b"x");
    let start = Instant::now();
    served.stop().unwrap();
    assert!(start.elapsed() < DEADLINE);
}
