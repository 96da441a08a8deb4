//! Tests of one server: permits that are taken and returned, the stop of the server, and its end.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::channel::{unbounded, Receiver};
use super::transport::Wire;
use super::{explore, Time};
use crate::client::id::ClientId;
use crate::client::state::ClientContext;
use crate::client::Client;
use crate::event::{Event, ServerId};
use crate::remote::Remote;
use crate::server::permit::{ActiveGuard, ListenerGuard, Permit};
use crate::server::state::ServerState;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::threads::MachineThreads;

fn server() -> (Arc<ServerState>, Receiver<Event>) {
    let (events, receiver) = unbounded();
    (ServerState::new(ServerId(7), "model".to_owned(), events), receiver)
}

/// Starts a thread that reacts to events like the one in `run`, until the server has ended.
fn control(server: &Arc<ServerState>, events: Receiver<Event>) -> thread::JoinHandle<Receiver<Event>> {
    let server = Arc::clone(server);
    thread::spawn(move || loop {
        match events.recv().expect("the server holds a sender") {
            Event::StopServer(_) => {
                server.stop();
                if !server.has_listeners() {
                    server.end_clients();
                }
            }
            Event::DrainServer(..) => server.close_listeners(),
            Event::ListenersClosed(_) if server.is_draining() => {}
            Event::ListenersClosed(_) => server.end_clients(),
            Event::ServerEnded(ServerId(7)) => {
                server.close_listeners();
                return events;
            }
            other => panic!("no server sends {other:?} here"),
        }
    })
}

/// Returns a registered client, unless the server is full or has closed its clients.
fn register(server: &Arc<ServerState>) -> Option<(Client, Permit)> {
    let mut permit = Permit::take(server)?;
    let context = ClientContext {
        limits: Arc::clone(server.limits()),
        ..ClientContext::for_tests(MachineThreads::new())
    };
    let transport = Wire::new(1, true).transport();
    let client = Client::new(ClientId::next(), transport, Remote::Memory, Arc::new(context));
    permit.register(&client).then_some((client, permit))
}

/// Asserts that the end was reported only once. A report of closed listeners may still follow a stop.
fn assert_ended_once(events: &Receiver<Event>) {
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::ServerEnded(_)), "the end is reported twice");
    }
}

fn active(server: &Arc<ServerState>) -> ActiveGuard {
    ActiveGuard::take(server).expect("a new server is not stopping")
}

/// An acceptor registers clients, each client ends when it is asked to, and two threads stop the server.
#[test]
fn the_last_guard_ends_the_server_once() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let listener = ListenerGuard::new(&server);
        let (registered, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let control = control(&server, events);
        let acceptor = thread::spawn({
            let (server, registered, ended) =
                (Arc::clone(&server), Arc::clone(&registered), Arc::clone(&ended));
            move || {
                let mut workers = Vec::new();
                for _ in 0..2 {
                    let Some((client, permit)) = register(&server) else { break };
                    registered.fetch_add(1, Ordering::SeqCst);
                    let (ended, server) = (Arc::clone(&ended), Arc::clone(&server));
                    workers.push(thread::spawn(move || {
                        // The stop of the server closes the client. This wait finds a client that is never closed.
                        while !client.is_stopping() {
                            assert!(server.client_count() > 0);
                            thread::yield_now();
                        }
                        ended.fetch_add(1, Ordering::SeqCst);
                        drop(permit);
                    }));
                }
                drop(listener);
                assert!(server.is_stopping(), "a closed listener stops the server");
                drop(guard);
                workers
            }
        });
        let stoppers = [0, 1].map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || server.request_stop())
        });
        let workers = acceptor.join().unwrap();
        for thread in stoppers.into_iter().chain(workers) {
            thread.join().unwrap();
        }
        assert_ended_once(&control.join().unwrap());
        assert_eq!(registered.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.current), (registered.load(Ordering::SeqCst) as u64, 0));
        assert!(ActiveGuard::take(&server).is_none() && register(&server).is_none());
    });
}

/// Clients are closed only after the last listener. A connection that was accepted before is either
/// registered and closed, or refused. It is never forgotten.
#[test]
fn clients_are_closed_after_the_last_listener() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guards = [active(&server), active(&server)];
        let listeners = [ListenerGuard::new(&server), ListenerGuard::new(&server)];
        let open = Arc::new(AtomicUsize::new(2));
        let control = control(&server, events);
        let acceptors = guards.into_iter().zip(listeners).map(|(guard, listener)| {
            let (server, open) = (Arc::clone(&server), Arc::clone(&open));
            thread::spawn(move || {
                let client = register(&server);
                open.fetch_sub(1, Ordering::SeqCst);
                drop(listener);
                if let Some((client, permit)) = client {
                    while !client.is_stopping() {
                        thread::yield_now();
                    }
                    assert_eq!(open.load(Ordering::SeqCst), 0, "a client was closed before a listener");
                    drop(permit);
                }
                drop(guard);
            })
        });
        for acceptor in acceptors.collect::<Vec<_>>() {
            acceptor.join().unwrap();
        }
        assert_ended_once(&control.join().unwrap());
    });
}

/// A drain and a stop come at the same time. The clients are ended in any case, and the server ends once.
#[test]
fn a_stop_during_a_drain_ends_the_clients() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let listener = ListenerGuard::new(&server);
        let control = control(&server, events);
        let acceptor = thread::spawn({
            let server = Arc::clone(&server);
            move || {
                let client = register(&server);
                while !server.is_stopping() {
                    thread::yield_now();
                }
                drop(listener);
                if let Some((client, permit)) = client {
                    while !client.is_stopping() {
                        thread::yield_now();
                    }
                    drop(permit);
                }
                drop(guard);
            }
        });
        let drainer = thread::spawn({
            let server = Arc::clone(&server);
            move || server.request_drain(Duration::from_secs(60))
        });
        server.request_stop();
        acceptor.join().unwrap();
        drainer.join().unwrap();
        assert_ended_once(&control.join().unwrap());
        assert!(!server.is_draining());
    });
}

/// A drain closes the listeners and ends no client.
#[test]
fn a_drain_leaves_the_clients_alone() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let listener = ListenerGuard::new(&server);
        let control = control(&server, events);
        let acceptor = thread::spawn({
            let server = Arc::clone(&server);
            move || {
                // The connection was accepted before the drain, and is registered later.
                while !server.is_stopping() {
                    thread::yield_now();
                }
                let (client, permit) = register(&server).expect("a drain serves it");
                drop(listener);
                (0..3).for_each(|_| thread::yield_now());
                assert!(!client.is_stopping());
                drop((permit, guard));
            }
        });
        server.request_drain(Duration::from_secs(60));
        server.request_drain(Duration::ZERO);
        acceptor.join().unwrap();
        assert_ended_once(&control.join().unwrap());
    });
}

/// Without a listener the stop itself closes the clients, including clients that come at the same time.
#[test]
fn a_client_that_comes_during_a_stop_is_closed_or_refused() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let control = control(&server, events);
        let comers = [0, 1].map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                let Some((client, permit)) = register(&server) else { return };
                while !client.is_stopping() {
                    thread::yield_now();
                }
                drop(permit);
            })
        });
        server.request_stop();
        for comer in comers {
            comer.join().unwrap();
        }
        drop(guard);
        assert_ended_once(&control.join().unwrap());
    });
}

/// Threads take a guard and drop it while another drops the last one.
#[test]
fn a_server_that_has_ended_gives_no_guard() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let control = control(&server, events);
        let threads = [0, 1].map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                let Some(guard) = ActiveGuard::take(&server) else { return };
                // In this test, only its end stops the server.
                assert!(!server.is_stopping(), "the server has ended");
                drop(guard);
            })
        });
        drop(guard);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_ended_once(&control.join().unwrap());
        assert!(server.is_stopping());
    });
}

/// Two acceptors find no room and wait for a notification, while permits are returned.
#[test]
fn acceptors_that_wait_for_room_are_woken() {
    explore(Time::Stands, || {
        let (server, _events) = server();
        server.limits().set_max_clients(1);
        let guard = ActiveGuard::take(&server);
        let acceptors = [0, 1].map(|_| {
            let server = Arc::clone(&server);
            thread::spawn(move || {
                for _ in 0..2 {
                    let (client, permit) = loop {
                        let seen = server.changed.count();
                        match register(&server) {
                            Some(registered) => break registered,
                            None => server.changed.wait(seen, None),
                        }
                    };
                    assert!(!client.is_stopping());
                    thread::spawn(move || drop(permit));
                }
            })
        });
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
        assert_eq!((server.stats().accepted, server.stats().peak), (4, 1));
        drop(guard);
    });
}

/// A hook for the stop runs once, whether it comes before the stop or after it.
#[test]
fn a_hook_for_the_stop_runs_once() {
    explore(Time::Stands, || {
        let (server, events) = server();
        let guard = active(&server);
        let control = control(&server, events);
        let (ran, early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let hooker = thread::spawn({
            let (server, ran, early) = (Arc::clone(&server), Arc::clone(&ran), Arc::clone(&early));
            move || {
                let stopping = Arc::clone(&server);
                server.on_stop(move || {
                    early.store(!stopping.is_stopping(), Ordering::SeqCst);
                    ran.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        server.request_stop();
        hooker.join().unwrap();
        drop(guard);
        assert_ended_once(&control.join().unwrap());
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(!early.load(Ordering::SeqCst), "a hook ran before the stop");
    });
}
