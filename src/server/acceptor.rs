//! The acceptor: one thread for each address of a server. It accepts connections and passes each connection
//! to a session. It never runs user code.
//!
//! It blocks in [`Listener::accept`] until a connection comes or the server stops. While the server is
//! suspended or full, and during a back-off, it does not accept and waits until the server's state changes. A
//! connection that it has already accepted then waits in the acceptor, and all others wait in the kernel's
//! queue. A full server can also [refuse](super::full) new connections instead. The thread ends when the
//! server stops or when its listener has become unusable.
//!
//! **When no descriptors are left**, the acceptor leaves new connections in the kernel's queue, and tries
//! again after a pause of at most one second. A connection in the queue is served when a descriptor is free
//! again. If the queue is full, the kernel refuses connections or delays them. Some servers keep a spare
//! descriptor, close it to accept and close a connection, and then open it again. This crate does not,
//! because each client would get an error instead of waiting, and clients that try again at once would cause
//! a loop. For its own waits, warnings and stop, the acceptor needs no new descriptors.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::logging::debug;
use crate::server::accept_error::{accept_action, AcceptAction};
use crate::server::full::{Full, Refused};
use crate::server::listener::{Accepted, Listener};
use crate::server::permit::{ListenerGuard, Permit};
use crate::server::state::ServerState;

/// The first and the longest pause after an error that requires a pause.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// If more connections than this have died in a row, the acceptor makes a pause.
const SKIPS: u32 = 64;

/// Accepts connections for one server, from one listener.
pub(crate) struct Acceptor<L: Listener> {
    listener: L,
    server: Arc<ServerState>,
    full: Full,
    refused: Refused<L::Socket>,
    back_off: Option<BackOff>,
    skips: u32,
    /// Dropped last, because the listener must be closed before.
    _guard: ListenerGuard,
}

struct BackOff {
    until: Instant,
    pause: Duration,
}

impl<L: Listener> Acceptor<L> {
    pub(crate) fn new(server: &Arc<ServerState>, listener: L) -> Acceptor<L> {
        server.on_stop(listener.interrupter());
        Acceptor {
            listener,
            server: Arc::clone(server),
            full: Full::default(),
            refused: Refused::new(),
            back_off: None,
            skips: 0,
            _guard: ListenerGuard::new(server),
        }
    }

    /// Sets the reaction to a new connection while the server is full. Default: it waits.
    pub(crate) fn when_full(self, full: Full) -> Acceptor<L> {
        Acceptor { full, ..self }
    }

    /// Accepts connections until the server stops. `serve` passes a connection to a session and does not wait
    /// for the session. If `serve` fails, that connection is lost.
    pub(crate) fn run(mut self, serve: impl Fn(Permit, Accepted<L::Socket>) -> io::Result<()>) {
        while self.await_turn() {
            match self.listener.accept(self.refused.deadline()) {
                Ok(Some(accepted)) => {
                    (self.back_off, self.skips) = (None, 0);
                    match self.await_permit() {
                        Turn::Serve(permit) => {
                            if let Err(error) = serve(permit, accepted) {
                                self.count_refused();
                                if !self.server.is_stopping() {
                                    self.server.warn(format_args!("a client could not be served: {error}"));
                                }
                            }
                        }
                        Turn::Refuse => self.refuse(accepted.socket),
                        Turn::Stop => return self.count_refused(),
                    }
                }
                // A refused connection has to be closed.
                Ok(None) => {}
                Err(_) if self.server.is_stopping() => return,
                // A signal interrupted the call. Even many signals are no reason for a pause.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => match accept_action(&error) {
                    AcceptAction::GiveUp => return self.server.request_stop_after(error),
                    action => {
                        self.server.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                        if action == AcceptAction::Skip && self.skips < SKIPS {
                            self.skips += 1;
                            debug!("a connection died before it was accepted: {error}");
                        } else {
                            self.back_off(&error);
                        }
                    }
                },
            }
        }
    }

    /// Blocks until the server may accept one more connection. Returns `false` if the server stops.
    fn await_turn(&mut self) -> bool {
        let refuses = self.full != Full::Wait;
        let take = |server: &Arc<ServerState>| (refuses || server.has_room()).then_some(());
        self.wait_for(take, |server| server.is_stopping()).is_some()
    }

    /// Blocks until it is decided what happens to the accepted connection. A server that drains still serves
    /// this connection.
    fn await_permit(&mut self) -> Turn {
        let refuses = self.full != Full::Wait;
        let take = |server: &Arc<ServerState>| match Permit::take(server) {
            Some(permit) => Some(Turn::Serve(permit)),
            None => refuses.then_some(Turn::Refuse),
        };
        let ends = |server: &ServerState| server.is_stopping() && (!server.is_draining() || server.refuses());
        self.wait_for(take, ends).unwrap_or(Turn::Stop)
    }

    /// Blocks while the server is suspended, during a back-off, and until `take` returns something. Closes
    /// refused connections when their time is over. Returns `None` when `ends` returns `true`.
    fn wait_for<T>(
        &mut self,
        take: impl Fn(&Arc<ServerState>) -> Option<T>,
        ends: impl Fn(&ServerState) -> bool,
    ) -> Option<T> {
        loop {
            let seen = self.server.changed.count();
            if ends(&self.server) {
                return None;
            }
            if self.refused.deadline().is_some() {
                self.refused.close_until(Instant::now());
            }
            let back_off = self.back_off.as_ref().map(|back_off| back_off.until);
            let back_off = back_off.filter(|until| *until > Instant::now());
            if back_off.is_none() && (!self.server.is_suspended() || self.server.is_draining()) {
                if let Some(taken) = take(&self.server) {
                    return Some(taken);
                }
                if !self.server.is_stopping() {
                    self.warn_full("wait");
                }
            }
            let until = back_off.into_iter().chain(self.refused.deadline()).min();
            self.server.changed.wait(seen, until);
        }
    }

    /// Sends the message to a client that comes while the server is full, and ends its connection.
    fn refuse(&mut self, socket: L::Socket) {
        self.count_refused();
        self.warn_full("are refused");
        if let Full::Refuse(message) = &self.full {
            self.refused.add(socket, message, Instant::now());
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        // Their descriptors may be the ones that are lacking.
        self.refused.close_all();
        let pause = self.back_off.as_ref().map_or(BACK_OFF.0, |last| (last.pause * 2).min(BACK_OFF.1));
        self.back_off = Some(BackOff { until: Instant::now() + pause, pause });
        self.server.warn(format_args!("cannot accept connections, trying again: {error}"));
    }

    fn count_refused(&self) {
        self.server.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn warn_full(&self, clients: &str) {
        let limit = self.server.limits().max_clients();
        self.server.warn(format_args!(
            "the limit of {limit} clients is reached, new clients {clients}; max_clients raises the limit"
        ));
    }
}

/// The decision about an accepted connection.
enum Turn {
    Serve(Permit),
    /// The server is full.
    Refuse,
    /// The server stops.
    Stop,
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use crossbeam_channel::{bounded, unbounded, Receiver, Sender};

    use super::*;
    use crate::event::{Event, ServerId};
    use crate::remote::Remote;
    use crate::server::listener::Refuse;
    use crate::server::permit::ActiveGuard;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct NoSocket;

    impl Refuse for NoSocket {
        fn refuse(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn drop_input(&self) {}
    }

    /// Reports that it begins to wait, and then accepts the connections of a test.
    struct FakeListener(Sender<()>, Receiver<()>);

    impl Listener for FakeListener {
        type Socket = NoSocket;

        fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
            Box::new(|| ())
        }

        fn accept(&mut self, _: Option<Instant>) -> io::Result<Option<Accepted<NoSocket>>> {
            self.0.send(()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?;
            Ok(Some(Accepted { socket: NoSocket, remote: Remote::Memory }))
        }
    }

    struct Scene {
        server: Arc<ServerState>,
        served: Receiver<()>,
        ended: Receiver<()>,
        /// The server has one place, and this permit takes it.
        place: Option<Permit>,
        _events: Receiver<Event>,
    }

    /// Makes a server for one client.
    fn server() -> (Arc<ServerState>, Receiver<Event>) {
        let (events, receiver) = unbounded();
        let server = ServerState::new(ServerId(1), "test".to_owned(), events);
        server.limits().set_max_clients(1);
        (server, receiver)
    }

    /// Makes a server whose acceptor has accepted a connection and has to wait with it, because the server is
    /// suspended or full.
    fn waiting(suspended: bool) -> Scene {
        let (server, receiver) = server();
        let guard = ActiveGuard::take(&server).expect("the server is new");
        let ((begin, begun), (connect, connections)) = (bounded(1), bounded(0));
        let ((serve, served), (end, ended)) = (unbounded(), bounded(1));
        let acceptor = Acceptor::new(&server, FakeListener(begin, connections));
        std::thread::spawn(move || {
            acceptor.run(|permit, _| {
                drop(permit);
                serve.send(()).map_err(io::Error::other)
            });
            drop((guard, end));
        });
        begun.recv_timeout(DEADLINE).expect("there is room");
        server.suspend(suspended);
        let place = if suspended { None } else { Permit::take(&server) };
        connect.send_timeout((), DEADLINE).expect("the acceptor accepts");
        served.recv_timeout(Duration::from_millis(50)).expect_err("the connection has to wait");
        Scene { server, served, ended, place, _events: receiver }
    }

    #[test]
    fn a_drain_serves_the_connection_that_waits_in_the_acceptor() {
        for suspended in [true, false] {
            let Scene { server, served, ended, place, _events } = waiting(suspended);
            assert!(server.start_drain());
            server.close_listeners();
            if place.is_some() {
                served.recv_timeout(Duration::from_millis(50)).expect_err("there is no place");
                drop(place);
            }
            served.recv_timeout(DEADLINE).expect("it is served");
            let error = ended.recv_timeout(DEADLINE).expect_err("nothing is sent");
            assert!(error.is_disconnected(), "the acceptor goes on");
            assert_eq!(server.stats().refused, 0);
        }
    }

    #[test]
    fn the_end_of_a_drain_ends_the_wait_for_a_place() {
        for stop in [ServerState::end_clients as fn(&ServerState), ServerState::stop] {
            let Scene { server, served, ended, place, _events } = waiting(false);
            assert!(server.start_drain());
            server.close_listeners();
            // By then, the acceptor has seen the drain and waits again.
            served.recv_timeout(Duration::from_millis(50)).expect_err("there is no place");
            stop(&server);
            let error = ended.recv_timeout(DEADLINE).expect_err("nothing is sent");
            assert!(error.is_disconnected(), "the acceptor waits for a place");
            assert!(served.try_recv().is_err());
            assert_eq!(server.stats().refused, 1);
            drop(place);
        }
    }
    #[test]
    fn a_connection_that_cannot_be_served_is_counted_as_refused() {
        let (server, _events) = server();
        let _guard = ActiveGuard::take(&server).expect("the server is new");
        let ((begin, _begun), (connect, connections)) = (unbounded(), unbounded());
        let acceptor = Acceptor::new(&server, FakeListener(begin, connections));
        connect.send(()).expect("the listener exists");
        acceptor.run(|_, _| {
            server.stop();
            Err(io::Error::other("no thread, on purpose"))
        });
        assert_eq!(server.stats().refused, 1);
    }
}
