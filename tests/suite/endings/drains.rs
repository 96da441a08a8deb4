//! `drain`: the listeners close, and the clients go on until they end by themselves or the limit comes (P23).

use std::time::{Duration, Instant};

use backport::{Adapter, Client, Closing, Machine, Result, ServerHandle};

use crate::support::{
    eventually, in_time, next, prepare, serve, try_prepare, Echo, Peer, Served, Settings, Watch,
};

const LONG: Duration = Duration::from_secs(3600);

/// Echoes, and says goodbye.
struct Polite;

impl Adapter for Polite {
    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        Ok(client.write(data)?)
    }
    fn closing(&mut self, client: &Client, reason: &Closing) {
        // The peer may be gone.
        drop(client.write(format!("goodbye: {reason}")));
    }
}

fn scene() -> (Served, Watch, Peer) {
    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || watched.around(Polite));
    let peer = served.connect();
    peer.assert_echo(b"in");
    (served, watch, peer)
}

#[track_caller]
fn assert_refused(served: &Served) {
    let address = served.address();
    eventually("new clients are refused", || address.refuses());
}

type Drain = fn(&Machine, &ServerHandle, Duration);

const DRAINS: [Drain; 2] = [|machine, _, limit| machine.drain(limit), |_, server, limit| server.drain(limit)];

#[test]
fn a_drain_refuses_new_clients_and_lets_the_others_go_on_until_they_end() {
    for drain in DRAINS {
        let (served, watch, peer) = scene();
        drain(served.machine(), &served.server, LONG);
        drain(served.machine(), &served.server, Duration::ZERO);
        assert_refused(&served);
        for _ in 0..10 {
            peer.assert_echo(b"goes on");
        }
        peer.half_close();
        assert_eq!(peer.read_to_end(), b"goodbye: closed by the peer");
        served.join().unwrap();
        watch.assert_balanced();
    }
}

#[test]
fn a_drain_stops_gracefully_at_its_limit() {
    for drain in DRAINS {
        let (served, watch, peer) = scene();
        let start = Instant::now();
        drain(served.machine(), &served.server, Duration::from_millis(300));
        peer.assert_echo(b"goes on");
        assert_eq!(peer.read_to_end(), b"goodbye: the server is stopping");
        assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
        drop(peer);
        served.join().unwrap();
        watch.assert_balanced();
    }
}

#[test]
fn a_stop_ends_a_drain_gracefully() {
    let stops: [fn(&Served); 2] = [|served| served.machine().stop(), |served| served.server.stop()];
    for drain in DRAINS {
        for stop in stops {
            let (served, watch, peer) = scene();
            drain(served.machine(), &served.server, LONG);
            assert_refused(&served);
            peer.assert_echo(b"goes on");
            stop(&served);
            assert_eq!(peer.read_to_end(), b"goodbye: the server is stopping");
            drop(peer);
            served.join().unwrap();
            watch.assert_balanced();
        }
    }
}

#[test]
fn stop_now_ends_a_drain_at_once() {
    let (served, watch, _peer) = scene();
    served.machine().drain(LONG);
    served.machine().stop_now();
    served.join().unwrap();
    watch.assert_balanced();
}

#[test]
fn a_drain_of_a_machine_without_clients_or_servers_ends_it() {
    let served = serve(|| Echo);
    served.machine().drain(LONG);
    served.join().unwrap();
    let machine = Machine::new();
    let job = machine.prepare_interval(Duration::from_secs(3600), |_| ());
    let running = machine.start().unwrap();
    machine.drain(LONG);
    in_time("it ends", move || running.join()).unwrap();
    assert!(job.is_stopped());
    let machine = Machine::new();
    machine.drain(LONG);
    in_time("it does not run", move || machine.run()).unwrap();
}

#[test]
fn a_drain_of_one_server_leaves_the_other_alone() {
    let (served, watch, peer) = scene();
    let other = prepare(served.machine(), || Echo);
    served.server.drain(LONG);
    assert_refused(&served);
    peer.assert_echo(b"goes on");
    other.connect().assert_echo(b"as before");
    drop(peer);
    assert_eq!(next(&watch.closed), "ByPeer");
    eventually("it has left", || served.machine().servers().len() == 1);
    other.connect().assert_echo(b"as before");
    prepare(served.machine(), || Echo);
    served.stop().unwrap();
}

#[test]
fn a_machine_that_drains_prepares_no_server() {
    let (served, _watch, peer) = scene();
    served.machine().drain(LONG);
    eventually("it refuses", || try_prepare(served.machine(), || Echo, Settings::default()).is_err());
    drop(peer);
    served.join().unwrap();
}
