//! The acceptor: one thread for each address of a server. It accepts connections and passes each connection
//! to a session. It never runs user code.
//!
//! It blocks in [`Listener::accept`] until a connection comes or the server stops. While the server is
//! suspended or full, and during a back-off, it does not accept and waits until the server's state changes. A
//! connection that it has already accepted then waits in the acceptor, and all others wait in the kernel's
//! queue. The thread ends when the server stops or when its listener has become unusable.
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
use crate::server::listener::{Accepted, Listener};
use crate::server::permit::{ListenerGuard, Permit};
use crate::server::state::ServerState;

/// The first and the longest pause after an error that requires a pause.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// If more connections than this have died in a row, the acceptor makes a pause.
const SKIPS: u32 = 64;

/// Accepts connections for one server, from one listener.
pub(crate) struct Acceptor<L> {
    listener: L,
    server: Arc<ServerState>,
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
        let guard = ListenerGuard::new(server);
        Acceptor { listener, server: Arc::clone(server), back_off: None, skips: 0, _guard: guard }
    }

    /// Accepts connections until the server stops. `serve` passes a connection to a session and does not wait
    /// for the session. If `serve` fails, that connection is lost.
    pub(crate) fn run(mut self, serve: impl Fn(Permit, Accepted<L::Socket>) -> io::Result<()>) {
        while self.await_room() {
            match self.listener.accept() {
                Ok(accepted) => {
                    (self.back_off, self.skips) = (None, 0);
                    let Some(permit) = self.await_permit() else {
                        self.server.counters.refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    if let Err(error) = serve(permit, accepted) {
                        self.server.counters.refused.fetch_add(1, Ordering::Relaxed);
                        if !self.server.is_stopping() {
                            self.server.warn(format_args!("a client could not be served: {error}"));
                        }
                    }
                }
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

    /// Blocks until the server has room for one more client. Returns `false` if the server stops.
    fn await_room(&self) -> bool {
        self.wait_for(|| self.server.has_room().then_some(()), || self.server.is_stopping()).is_some()
    }

    /// Blocks until there is a permit for the accepted connection. Returns `None` if the server stops. A server
    /// that drains still serves this connection.
    fn await_permit(&self) -> Option<Permit> {
        let ends = || self.server.is_stopping() && (!self.server.is_draining() || self.server.refuses());
        self.wait_for(|| Permit::take(&self.server), ends)
    }

    /// Blocks while the server is suspended, during a back-off, and until `take` returns something. Returns
    /// `None` when `ends` returns `true`.
    fn wait_for<T>(&self, take: impl Fn() -> Option<T>, ends: impl Fn() -> bool) -> Option<T> {
        loop {
            let seen = self.server.changed.count();
            if ends() {
                return None;
            }
            let mut until = self.back_off.as_ref().map(|back_off| back_off.until);
            until = until.filter(|until| *until > Instant::now());
            if until.is_none() && (!self.server.is_suspended() || self.server.is_draining()) {
                if let Some(taken) = take() {
                    return Some(taken);
                }
                if !self.server.is_stopping() {
                    self.server.warn(format_args!(
                        "the limit of {} clients is reached, new clients wait; max_clients raises the limit",
                        self.server.limits().max_clients()
                    ));
                }
            }
            self.server.changed.wait(seen, until);
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let pause = self.back_off.as_ref().map_or(BACK_OFF.0, |last| (last.pause * 2).min(BACK_OFF.1));
        self.back_off = Some(BackOff { until: Instant::now() + pause, pause });
        self.server.warn(format_args!("cannot accept connections, trying again: {error}"));
    }
}
