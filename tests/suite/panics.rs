//! A panic in user code ends one client and nothing else (P3).

use std::panic::{panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use backport::{Adapter, Client, Closing, Input, Machine, Result};
use parking_lot::Mutex;

use crate::support::{eventually, next, nothing, prepare, serve, Address, Peer, Served, Watch};

/// Panics when it is dropped.
#[derive(Debug)]
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("in a payload's drop, on purpose");
    }
}

/// An echo that panics in the place that it is told.
struct Bomb {
    place: &'static str,
    armed: Arc<AtomicBool>,
}

impl Bomb {
    /// Goes off once, for the first client that comes there.
    fn at(&self, place: &str) {
        if self.place == place && self.armed.swap(false, Ordering::SeqCst) {
            panic!("in {place}, on purpose");
        }
    }
}

impl Adapter for Bomb {
    fn opening(&mut self, _: &Client) -> Result {
        self.at("opening");
        Ok(())
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        if self.place == "payload" && self.armed.swap(false, Ordering::SeqCst) {
            panic_any(Grenade);
        }
        self.at("receiving");
        Ok(client.write(data)?)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        // A last word, which panics do not keep from being delivered.
        drop(client.write(reason.to_string()));
        self.at("closing");
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        self.at("serving");
        while let Some(data) = input.chunk()? {
            self.receiving(client, data)?;
        }
        Ok(())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.at("drop");
    }
}

/// A server of bombs with twenty bystanders, one more peer for whom it goes off in `place`.
fn go_off(place: &'static str) -> (Served, Watch, Vec<Peer>, Peer) {
    let watch = Watch::new();
    let (watched, armed) = (watch.clone(), Arc::new(AtomicBool::new(false)));
    let arming = armed.clone();
    let served = serve(move || {
        let bomb = Bomb { place, armed: armed.clone() };
        bomb.at("factory");
        watched.around_serving(bomb)
    });
    let bystanders: Vec<_> = (0..20).map(|_| served.connect()).collect();
    bystanders.iter().for_each(|peer| peer.assert_echo(b"before"));
    arming.store(true, Ordering::SeqCst);
    let peer = served.connect();
    if !matches!(place, "factory" | "opening" | "serving") {
        peer.send(b"go");
    }
    (served, watch, bystanders, peer)
}

/// All the others go on, new ones are served, the stop is clean.
fn assert_unharmed(served: Served, watch: &Watch, bystanders: Vec<Peer>) {
    bystanders.iter().for_each(|peer| peer.assert_echo(b"after"));
    eventually("the one has left", || served.server.client_count() == bystanders.len());
    served.assert_echoes();
    drop(bystanders);
    served.stop().unwrap();
    watch.assert_balanced();
}

#[track_caller]
fn assert_one_panic(served: &Served) {
    eventually("it is counted", || served.server.stats().panics > 0);
    assert_eq!(served.server.stats().panics, 1);
}

#[test]
fn a_panic_in_a_callback_ends_that_client_alone() {
    for place in ["opening", "serving", "receiving"] {
        let (served, watch, bystanders, peer) = go_off(place);
        let said = String::from_utf8(peer.read_to_end()).unwrap();
        assert_eq!(said, format!("panicked: in {place}, on purpose"));
        assert_eq!(next(&watch.closed), "Panicked");
        nothing(&watch.closed);
        assert_eq!(served.server.stats().panics, 1);
        assert_unharmed(served, &watch, bystanders);
    }
}

#[test]
fn a_panic_in_the_factory_costs_one_client_and_has_no_closing() {
    let (served, watch, bystanders, peer) = go_off("factory");
    assert_eq!(peer.read_to_end(), b"");
    nothing(&watch.closed);
    assert_unharmed(served, &watch, bystanders);
}

#[test]
fn a_panic_in_closing_costs_one_client_and_no_output() {
    let (served, watch, bystanders, peer) = go_off("closing");
    assert_eq!(peer.read(2), b"go");
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"closed by the peer");
    assert_eq!(next(&watch.closed), "ByPeer");
    assert_one_panic(&served);
    assert_unharmed(served, &watch, bystanders);
}

#[test]
fn a_panic_in_the_adapters_drop_costs_one_client() {
    let (served, watch, bystanders, peer) = go_off("drop");
    assert_eq!(peer.read(2), b"go");
    peer.half_close();
    assert_eq!(peer.read_to_end(), b"closed by the peer");
    assert_one_panic(&served);
    assert_unharmed(served, &watch, bystanders);
}

#[test]
fn a_panic_in_the_drop_of_a_payload_costs_one_client() {
    let (served, watch, bystanders, peer) = go_off("payload");
    assert!(peer.read_to_end().starts_with(b"panicked: "));
    assert_eq!(next(&watch.closed), "Panicked");
    assert_unharmed(served, &watch, bystanders);
}

#[test]
fn a_panic_in_the_drop_of_an_error_costs_one_client() {
    #[derive(Debug)]
    struct Sour(#[allow(dead_code, reason = "its drop is what counts")] Grenade);
    impl std::fmt::Display for Sour {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("sour")
        }
    }
    impl std::error::Error for Sour {}

    let watch = Watch::new();
    let watched = watch.clone();
    let served = serve(move || {
        watched.around(backport::receiving(|client, data| match data {
            b"fail" => Err(Sour(Grenade).into()),
            data => Ok(client.write(data)?),
        }))
    });
    let bystander = served.connect();
    let peer = served.connect();
    peer.send(b"fail");
    assert_eq!(next(&watch.closed), "Failed");
    peer.wait_for_end();
    bystander.assert_echo(b"fine");
    eventually("the one has left", || served.server.client_count() == 1);
    let stats = served.server.stats();
    assert_eq!((stats.failures, stats.panics), (1, 1), "it has failed, and then its drop has panicked");
    served.stop().unwrap();
}

#[test]
fn panics_of_a_callback_and_of_its_closing_are_counted_as_one_client() {
    struct Twice;
    impl Adapter for Twice {
        fn receiving(&mut self, _: &Client, _: &[u8]) -> Result {
            resume_unwind(Box::new("on purpose"));
        }
        fn closing(&mut self, _: &Client, _: &Closing) {
            resume_unwind(Box::new("on purpose, too"));
        }
    }
    let served = serve(|| Twice);
    let peer = served.connect();
    peer.send("x");
    peer.wait_for_end();
    served.wait_until_empty();
    assert_eq!(served.server.stats().panics, 1);
    served.stop().unwrap();
}

#[test]
fn a_panic_while_holding_a_mutex_of_the_users_leaves_the_crate_usable() {
    let shared: Arc<Mutex<Vec<Client>>> = Arc::default();
    let all = shared.clone();
    let served = serve(move || {
        let all = all.clone();
        backport::receiving(move |client, data| {
            let mut clients = all.lock();
            clients.push(client.clone());
            assert_ne!(data, b"panic", "on purpose, holding the lock");
            clients.iter().for_each(|other| drop(other.write(data)));
            Ok(())
        })
    });
    let (one, two) = (served.connect(), served.connect());
    one.assert_echo(b"one");
    two.send(b"panic");
    two.wait_for_end();
    one.send(b"x");
    one.read(2);
    served.stop().unwrap();
}

#[test]
fn a_thousand_panicking_connections_leave_nothing_behind() {
    // Without the panic hook, which would print each of them.
    let served = serve(|| backport::receiving(|_, _| resume_unwind(Box::new("on purpose"))));
    for _ in 0..1000 {
        let peer = served.connect();
        peer.send(b"x");
        peer.wait_for_end();
    }
    served.wait_until_empty();
    assert_eq!(served.server.stats().panics, 1000);
    served.stop().unwrap();
}

struct Bad;

impl Drop for Bad {
    fn drop(&mut self) {
        resume_unwind(Box::new("on purpose"));
    }
}

/// Two, since a panic on the way out of another would end the process.
#[test]
fn drops_of_jobs_that_panic_at_the_stop_cost_nothing() {
    let served = serve(|| crate::support::Echo);
    for _ in 0..2 {
        let bad = Bad;
        served.machine().prepare_timeout(Duration::from_secs(3600), move || drop(bad));
    }
    eventually("they are there", || served.machine().stats().intervals == 2);
    served.assert_echoes();
    served.stop().unwrap();
}

#[test]
fn drops_that_panic_on_a_machine_that_never_ran_cost_nothing() {
    let machine = Machine::new();
    let addresses: Vec<_> = (0..2)
        .map(|_| {
            let bad = Bad;
            let factory = move || {
                let _part_of_it = &bad;
                crate::support::Echo
            };
            prepare(&machine, factory).address
        })
        .collect();
    let bad = Bad;
    machine.prepare_timeout(Duration::from_secs(1), move || drop(bad));
    drop(machine);
    addresses.into_iter().for_each(Address::assert_free);
}
