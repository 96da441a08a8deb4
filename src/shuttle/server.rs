//! One server: seats given and given back, the stop, and the end.

use std::sync::Arc;

use shuttle::thread;

use super::channel::{unbounded, Receiver};
use super::transport::Wire;
use super::{explore, Time};
use crate::client::state::ClientContext;
use crate::client::{id::ClientId, Client};
use crate::event::{Event, ServerId};
use crate::remote::Remote;
use crate::server::permit::Permit;
use crate::server::state::ServerState;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::threads::Threads;

fn server() -> (Arc<ServerState>, Receiver<Event>) {
    let (events, receiver) = unbounded();
    (ServerState::new(ServerId(7), "model".to_owned(), events), receiver)
}

/// A client that has taken a seat, unless the server is full or has closed its clients.
fn sit(core: &Arc<ServerState>) -> Option<(Client, Permit)> {
    let mut seat = core.seat()?;
    let context = ClientContext { limits: Arc::clone(core.limits()), threads: Threads::new() };
    let transport = Wire::new(1, true).transport();
    let client = Client::new(ClientId::next(), transport, Remote::Memory, Arc::new(context));
    seat.sit(&client).then_some((client, seat))
}

fn assert_ended_once(events: &Receiver<Event>) {
    assert!(matches!(events.try_recv(), Ok(Event::ServerEnded(ServerId(7)))), "the end is told");
    assert!(events.try_recv().is_err(), "the end is told once");
}

/// An acceptor that seats clients, clients that leave when they are told to, and two that stop the
/// server.
#[test]
fn the_last_to_leave_ends_the_server_once() {
    explore(Time::Stands, || {
        let (core, events) = server();
        let presence = core.enter().expect("a server that was just made can be entered");
        let listening = core.listen();
        let (seated, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let acceptor = thread::spawn({
            let (core, seated, left) = (Arc::clone(&core), Arc::clone(&seated), Arc::clone(&left));
            move || {
                let mut workers = Vec::new();
                for _ in 0..2 {
                    let Some((client, seat)) = sit(&core) else { break };
                    seated.fetch_add(1, Ordering::SeqCst);
                    let (left, core) = (Arc::clone(&left), Arc::clone(&core));
                    workers.push(thread::spawn(move || {
                        // Until the server's stop has closed it; a client that never is, is seen.
                        while !client.is_closed() {
                            assert!(!core.is_stopping() || core.client_count() > 0);
                            thread::yield_now();
                        }
                        left.fetch_add(1, Ordering::SeqCst);
                        drop(seat);
                    }));
                }
                drop(listening);
                assert!(core.is_stopping(), "the end of listening is a stop");
                assert!(sit(&core).is_none(), "no seat is given once clients were closed");
                drop(presence);
                workers
            }
        });
        let stoppers = [0, 1].map(|_| {
            let core = Arc::clone(&core);
            thread::spawn(move || core.stop())
        });
        let workers = acceptor.join().unwrap();
        for thread in stoppers.into_iter().chain(workers) {
            thread.join().unwrap();
        }
        assert_eq!(seated.load(Ordering::SeqCst), left.load(Ordering::SeqCst));
        assert_ended_once(&events);
        let stats = core.stats();
        assert_eq!((stats.accepted, stats.current), (seated.load(Ordering::SeqCst) as u64, 0));
        assert!(core.enter().is_none() && sit(&core).is_none());
    });
}

/// Without an acceptor the stop itself closes the clients, those too that come at the same time.
#[test]
fn a_client_that_comes_during_a_stop_is_closed_or_refused() {
    explore(Time::Stands, || {
        let (core, events) = server();
        let presence = core.enter().expect("a server that was just made can be entered");
        let comers = [0, 1].map(|_| {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                let Some((client, seat)) = sit(&core) else { return };
                while !client.is_closed() {
                    thread::yield_now();
                }
                drop(seat);
            })
        });
        core.stop();
        for comer in comers {
            comer.join().unwrap();
        }
        assert!(events.try_recv().is_err(), "a thread is still present");
        drop(presence);
        assert_ended_once(&events);
    });
}

/// Threads that enter and leave while another is the last to leave.
#[test]
fn nobody_enters_a_server_that_has_ended() {
    explore(Time::Stands, || {
        let (core, events) = server();
        let presence = core.enter().expect("a server that was just made can be entered");
        let threads = [0, 1].map(|_| {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                let Some(presence) = core.enter() else { return };
                // Only the end of the server stops it here.
                assert!(!core.is_stopping(), "the server has ended");
                drop(presence);
            })
        });
        drop(presence);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_ended_once(&events);
        assert!(core.is_stopping());
    });
}

/// Two acceptors look for room, find none and wait for the bell; places come free meanwhile.
#[test]
fn acceptors_that_wait_for_room_are_woken() {
    explore(Time::Stands, || {
        let (core, _events) = server();
        core.limits().set_max_clients(1);
        let presence = core.enter();
        let acceptors = [0, 1].map(|_| {
            let core = Arc::clone(&core);
            thread::spawn(move || {
                for _ in 0..2 {
                    let (client, seat) = loop {
                        let rings = core.bell.rings();
                        match sit(&core) {
                            Some(taken) => break taken,
                            None => core.bell.wait(rings, None),
                        }
                    };
                    assert!(!client.is_closed());
                    thread::spawn(move || drop(seat));
                }
            })
        });
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
        assert_eq!((core.stats().accepted, core.stats().peak), (4, 1));
        drop(presence);
    });
}

/// A hook for the stop runs once, whether it comes before the stop or after.
#[test]
fn a_hook_for_the_stop_runs_once() {
    explore(Time::Stands, || {
        let (core, _events) = server();
        let presence = core.enter();
        let (ran, early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let hooker = thread::spawn({
            let (core, ran, early) = (Arc::clone(&core), Arc::clone(&ran), Arc::clone(&early));
            move || {
                let server = Arc::clone(&core);
                core.on_stop(move || {
                    early.store(!server.is_stopping(), Ordering::SeqCst);
                    ran.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        core.stop();
        hooker.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(!early.load(Ordering::SeqCst), "a hook ran before the stop");
        drop(presence);
    });
}
