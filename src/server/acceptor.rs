//! The acceptor: one thread for each address of a server. It accepts connections and hands each one to a
//! session. It never runs user code.
//!
//! It blocks in [`Listener::accept`], which the stop of the server ends. While it may not accept, it waits
//! until the server's state changes: when the server is suspended or full, and during a back-off. A
//! connection that it has already accepted waits in the acceptor then, the others in the kernel's queue.
//! The thread ends when the server stops or when its listener is unusable.
//!
//! **When descriptors run out**, the acceptor leaves new connections in the kernel's queue, and tries again
//! after a pause of at most one second. A connection in the queue is served when a descriptor comes free,
//! and if the queue is full, the kernel answers. There is an old trick to shed connections: close a spare
//! descriptor, accept, close, open the spare again. It is not used here, because it turns a shortage that
//! clients would have waited out into an error for each of them. Clients that try again at once turn that
//! into a loop. The acceptor has everything that it needs for waits, warnings and its stop from the start.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::logging::{debug, warn, Escaped};
use crate::server::accept_error::{accept_action, AcceptAction};
use crate::server::listener::{Accepted, Listener};
use crate::server::permit::{ListenerGuard, Permit};
use crate::server::state::ServerState;

/// The first and the longest pause after an error that calls for one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// More dead connections in a row than this are treated as an error that calls for a pause.
const SKIPS: u32 = 64;

/// Accepts for one server, from one listener.
pub(crate) struct Acceptor<L> {
    listener: L,
    server: Arc<ServerState>,
    back_off: Option<BackOff>,
    skips: u32,
    /// Dropped last, because the listener must be closed by then.
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

    /// Accepts until the server stops. `serve` hands a connection to a session and does not wait for it.
    /// If `serve` fails, that connection is lost.
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
                            self.warn(format_args!("a client could not be served: {error}"));
                        }
                    }
                }
                Err(_) if self.server.is_stopping() => return,
                // A signal interrupted the call. Many signals are no reason for a pause.
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

    /// Blocks until one more client may come. Returns `false` if the server stops.
    fn await_room(&self) -> bool {
        self.wait_for(|| self.server.has_room().then_some(())).is_some()
    }

    /// Blocks until there is a permit for the accepted connection. Returns `None` if the server stops.
    fn await_permit(&self) -> Option<Permit> {
        self.wait_for(|| Permit::take(&self.server))
    }

    /// Blocks while the server is suspended, during a back-off, and until `take` returns something.
    fn wait_for<T>(&self, take: impl Fn() -> Option<T>) -> Option<T> {
        loop {
            let seen = self.server.changed.count();
            if self.server.is_stopping() {
                return None;
            }
            let mut until = self.back_off.as_ref().map(|back_off| back_off.until);
            until = until.filter(|until| *until > Instant::now());
            if until.is_none() && !self.server.is_suspended() {
                if let Some(taken) = take() {
                    return Some(taken);
                }
                if !self.server.is_stopping() {
                    self.warn(format_args!(
                        "{} clients are served, more may wait; max_clients raises the limit",
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
        self.warn(format_args!("cannot accept, trying again: {error}"));
    }

    fn warn(&self, message: std::fmt::Arguments<'_>) {
        if let Some(more) = self.server.warnings.allow(Instant::now()) {
            let name = self.server.name();
            warn!("server {}: {message} ({more} such warnings held back)", Escaped(name));
        }
    }
}
