//! A stop is idempotent, and escalates only on request or at the drain timeout (P9, P10).

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Error, Machine, Result};
use crossbeam_channel::{unbounded, Sender};

use crate::support::{eventually, gate, in_time, next, prepare, serve, Echo, Gate, Watch, DEADLINE};

/// Says goodbye with more than one packet.
struct Goodbye;

const GOODBYE: usize = 20_000;

impl Adapter for Goodbye {
    fn opening(&mut self, client: &Client) -> Result {
        Ok(client.write("!")?)
    }
    fn closing(&mut self, client: &Client, _: &Closing) {
        client.write(vec![b'x'; GOODBYE]).unwrap();
    }
}

/// Calls `stop` on so many threads at once, and asserts that every peer gets its goodbye.
#[track_caller]
fn says_goodbye(threads: usize, stop: fn(&Machine)) {
    for _ in 0..10 {
        let served = serve(|| Goodbye);
        let peers: Vec<_> = (0..4).map(|_| served.connect()).collect();
        peers.iter().for_each(|peer| assert_eq!(peer.read(1), b"!"));
        let together = Arc::new(Barrier::new(threads));
        let stoppers: Vec<_> = (0..threads)
            .map(|_| {
                let (machine, together) = (served.machine().clone(), Arc::clone(&together));
                thread::spawn(move || {
                    together.wait();
                    stop(&machine);
                })
            })
            .collect();
        peers.iter().for_each(|peer| assert_eq!(peer.read_to_end().len(), GOODBYE));
        drop(peers);
        stoppers.into_iter().for_each(|stopper| stopper.join().unwrap());
        served.join().unwrap();
    }
}

#[test]
fn stops_of_two_and_of_eight_threads_at_once_are_one_graceful_stop() {
    says_goodbye(2, Machine::stop);
    says_goodbye(8, Machine::stop);
}

#[test]
fn stops_and_drains_of_several_threads_at_once_are_one_graceful_stop() {
    says_goodbye(4, |machine| {
        machine.servers().iter().for_each(|server| server.stop());
        machine.drain(Duration::ZERO);
        machine.stop();
        machine.servers().iter().for_each(|server| server.drain(Duration::ZERO));
        machine.drain(Duration::from_secs(60));
        machine.stop();
    });
}

#[test]
fn stops_in_a_loop_cost_neither_time_nor_memory() {
    let served = serve(|| Goodbye);
    let peer = served.connect();
    assert_eq!(peer.read(1), b"!");
    let start = Instant::now();
    let server = served.server.clone();
    for _ in 0..1_000_000 {
        served.machine().stop();
        server.stop();
        server.drain(Duration::ZERO);
    }
    assert_eq!(peer.read_to_end().len(), GOODBYE);
    drop(peer);
    served.join().unwrap();
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
}

#[test]
fn a_stop_while_the_last_server_ends_by_itself_is_graceful() {
    for _ in 0..50 {
        let served = serve(|| Goodbye);
        let peer = served.connect();
        assert_eq!(peer.read(1), b"!");
        served.server.stop();
        let machine = served.machine().clone();
        let stopper = thread::spawn(move || machine.stop());
        assert_eq!(peer.read_to_end().len(), GOODBYE);
        drop(peer);
        stopper.join().unwrap();
        served.join().unwrap();
    }
}

/// Waits in a callback, and reports its client.
struct Stuck(Sender<Client>, Gate);

impl Adapter for Stuck {
    fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
        self.0.send(client.clone())?;
        self.1.wait();
        Ok(())
    }
}

#[test]
fn a_stop_of_one_server_cuts_its_clients_at_the_drain_timeout_and_the_machine_lives_on() {
    struct Flood;
    impl Adapter for Flood {
        fn opening(&mut self, client: &Client) -> Result {
            Ok(client.write(vec![0; 50_000_000])?)
        }
    }
    let served = serve(|| Echo);
    served.machine().set_drain_timeout(Duration::from_millis(300));
    let (watch, (keeper, gate)) = (Watch::new(), gate());
    let (watched, (sender, begun)) = (watch.clone(), unbounded());
    let stuck = prepare(served.machine(), move || watched.around(Stuck(sender.clone(), gate.clone())));
    let flood = prepare(served.machine(), || Flood);
    let bystander = served.connect();
    let (peer, stalled) = (stuck.connect(), flood.connect());
    peer.send("x");
    let client = next(&begun);
    eventually("it is written to", || flood.stats().bytes_out > 0);
    stuck.stop();
    flood.stop();
    eventually("the stalled one is cut, and its server ends", || served.machine().servers().len() == 2);
    eventually("the output of the stuck one is cut", || client.is_closed());
    peer.wait_for_end();
    bystander.assert_echo(b"lives on");
    served.assert_echoes();
    drop(keeper);
    assert_eq!(next(&watch.closed), "Stopping");
    eventually("the stuck server ends, too", || served.machine().servers().len() == 1);
    bystander.assert_echo(b"lives on");
    drop(stalled);
    served.stop().unwrap();
}

#[test]
fn only_the_stuck_client_of_five_hundred_is_named() {
    let (keeper, gate) = gate();
    let (sender, begun) = unbounded();
    let served = serve(move || Stuck(sender.clone(), gate.clone()));
    served.machine().set_drain_timeout(Duration::from_millis(500));
    let peers: Vec<_> = (0..500).map(|_| served.connect()).collect();
    eventually("they are in", || served.server.client_count() == 500);
    peers[250].send("x");
    let client = next(&begun);
    let leaving = thread::spawn(move || {
        let stuck = peers[250].shown();
        peers.iter().enumerate().filter(|(i, _)| *i != 250).for_each(|(_, peer)| peer.wait_for_end());
        (stuck, peers)
    });
    let error = served.stop().unwrap_err();
    let Some(Error::Stuck { threads, .. }) = error.downcast_ref::<Error>() else { panic!("{error}") };
    let (address, _peers) = leaving.join().unwrap();
    assert_eq!(threads.len(), 1, "{threads:?}");
    assert!(threads[0].contains(&format!("client {} from {address}", client.id())), "{threads:?}");
    drop(keeper);
}

/// Letting a callback write while it stops must not make the stop of others slow.
#[test]
fn clients_that_were_just_written_to_stop_soon() {
    let served = serve(|| Echo);
    let peers: Vec<_> = (0..500).map(|_| served.connect()).collect();
    peers.iter().for_each(|peer| peer.assert_echo(b"just now"));
    let reading = thread::spawn(move || peers.into_iter().for_each(|peer| peer.wait_for_end()));
    let start = Instant::now();
    served.stop().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "less than the drain timeout, which cuts: {took:?}");
    reading.join().unwrap();
}

#[test]
fn dropping_the_machine_handle_of_a_draining_machine_stops_it() {
    let served = serve(|| Goodbye);
    let peer = served.connect();
    assert_eq!(peer.read(1), b"!");
    served.machine().drain(Duration::from_secs(3600));
    let reader = thread::spawn(move || peer.read_to_end().len());
    in_time("the drop returns", move || drop(served));
    assert_eq!(reader.join().unwrap(), GOODBYE);
}
