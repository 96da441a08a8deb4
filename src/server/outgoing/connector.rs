//! [`Connector`]: the thread of an outgoing client. It connects, serves the connection, and waits until it
//! connects again.
//!
//! The thread ends when the server stops or drains. Both end its waits at once. A running connection ends in the
//! same way as with any other server, so a drain lets it continue.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use socket2::Socket;

use crate::adapter::Adapter;
use crate::catch_panic::catch_panic;
use crate::closing::Closing;
use crate::error::with_context;
use crate::logging::{debug, error, info, warn, Escaped};
use crate::server::control::Control;
use crate::server::listener::tcp::{connected, TcpOptions};
use crate::server::outgoing::back_off::BackOff;
use crate::server::outgoing::deadline::Deadline;
use crate::server::outgoing::race::Race;
use crate::server::outgoing::resolve::Resolver;
use crate::server::permit::Permit;
use crate::server::session::Sessions;
use crate::server::state::ServerState;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::threads::pool::Job;
use crate::threads::user_code::user_code;

/// The connections of one outgoing client, one after another. Its own thread uses it.
pub(super) struct Connector<F> {
    pub(super) control: Control,
    /// A host and a port.
    pub(super) address: String,
    pub(super) options: TcpOptions,
    pub(super) timeout: Duration,
    /// `None` if the client connects only once.
    pub(super) back_off: Option<BackOff>,
    pub(super) resolver: Resolver,
    pub(super) sessions: Arc<Sessions<F, Socket>>,
    /// Gets the reason of the end of each session.
    pub(super) endings: Receiver<Closing>,
    pub(super) troubles: Arc<Troubles>,
    /// The last connection has ended too soon to start the back-off again. Only the first of such connections in
    /// a row is a warning.
    pub(super) ends_soon: bool,
}

/// The attempts that have failed in a row. Only the first one is a warning, because the next ones say the same.
///
/// Only the thread of the client uses it, so `Relaxed` is enough.
#[derive(Default)]
pub(super) struct Troubles {
    failures: AtomicU64,
}

impl Troubles {
    /// Counts a failure. Returns `true` if it is the first one.
    fn add(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Notes that the connection can be used.
    pub(super) fn end(&self, server: &ServerState) {
        let failures = self.failures.swap(0, Ordering::Relaxed);
        if failures > 0 {
            let name = server.name();
            info!("server {} is connected; attempts that failed before: {failures}", Escaped(name));
        }
    }
}

/// How an attempt to connect ended.
enum Outcome {
    Failed(io::Error),
    Ended { reason: Option<Closing>, lived: Duration },
    Stopped,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Connector<F> {
    /// Connects and serves until the server stops, or only once.
    pub(super) fn run(mut self) {
        let mut until = None;
        while self.await_turn(until) {
            let outcome = self.attempt();
            match self.next(outcome) {
                Some(wait) => until = Some(Instant::now() + wait),
                None => break,
            }
        }
        user_code(Some(Arc::new(format!("the factory of {}", self.control.state().name()))));
        let sessions = self.sessions;
        if let Err(message) = catch_panic(move || drop(sessions)) {
            error!("a panic while the factory of a client was dropped: {}", Escaped(message));
        }
        user_code(None);
    }

    /// Blocks until `until` has passed and the server is not suspended. Returns `false` if the server stops.
    fn await_turn(&self, until: Option<Instant>) -> bool {
        let server = self.control.state();
        loop {
            let seen = server.changed.count();
            if server.is_stopping() {
                return false;
            }
            let waits = until.filter(|until| Instant::now() < *until);
            if waits.is_none() && !server.is_suspended() {
                return true;
            }
            server.changed.wait(seen, waits);
        }
    }

    /// Makes one attempt to connect, and serves the connection until it has ended.
    fn attempt(&mut self) -> Outcome {
        debug!("server {} connects", Escaped(self.control.state().name()));
        let accepted = match self.connect() {
            Ok(Some(stream)) => connected(stream, &self.options),
            Ok(None) => return Outcome::Stopped,
            Err(error) => Err(error),
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return Outcome::Failed(error),
        };
        // The server has stopped if there is no permit.
        let Some(permit) = Permit::take(self.control.state()) else { return Outcome::Stopped };
        let start = Instant::now();
        let handshakes_failed = || self.control.state().stats().handshakes_failed;
        let before = handshakes_failed();
        self.sessions.session(permit, accepted).run();
        match self.endings.try_recv().ok() {
            Some(Closing::Lost(error)) if handshakes_failed() > before => Outcome::Failed(error),
            reason => Outcome::Ended { reason, lived: start.elapsed() },
        }
    }

    /// Returns `None` if the server stops.
    fn connect(&mut self) -> io::Result<Option<TcpStream>> {
        let deadline = Deadline::after(self.timeout);
        let stopping = self.control.stopping();
        let Some(addresses) = self.resolver.resolve(&self.address, &stopping, deadline)? else {
            return Ok(None);
        };
        let race = Race::new(addresses)?;
        let waker = race.waker();
        let hook = self.control.on_stop(move || {
            if let Err(error) = waker.wake() {
                error!("cannot wake a client that connects: {error}");
            }
        });
        let stream = race.run(deadline, || self.control.is_stopping());
        // A hook that stays would keep the descriptors of the waker.
        hook.cancel();
        stream
    }

    /// Logs an outcome. Returns how long to wait before the next attempt, or `None` if there is none.
    fn next(&mut self, outcome: Outcome) -> Option<Duration> {
        let server = self.control.state();
        let (is_first, trouble) = match outcome {
            Outcome::Stopped => return None,
            Outcome::Failed(error) => {
                server.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                let message = format!("cannot connect: {error}");
                if self.back_off.is_none() {
                    warn!("server {}: {}", Escaped(server.name()), Escaped(message));
                    let failure = with_context(format_args!("cannot connect to {}", self.address), &error);
                    server.report_failure(failure);
                    return None;
                }
                (self.troubles.add(), message)
            }
            Outcome::Ended { reason, lived } => {
                let soon = !self.back_off.as_mut()?.has_lived(lived);
                let is_first = soon && !self.ends_soon;
                self.ends_soon = soon;
                (is_first, describe(reason, lived))
            }
        };
        let wait = self.back_off.as_mut()?.next_wait(fastrand::f64());
        if server.is_stopping() {
            return None;
        }
        let name = Escaped(server.name());
        if is_first {
            warn!("server {name}: {}; the next attempt is in {wait:.1?}", Escaped(trouble));
        } else {
            debug!("server {name}: {}; the next attempt is in {wait:.1?}", Escaped(trouble));
        }
        Some(wait)
    }
}

/// Describes the end of a connection. The reason may hold a value of the user, so this catches its panics.
fn describe(reason: Option<Closing>, lived: Duration) -> String {
    let text = catch_panic(move || reason.map(|reason| reason.to_string()));
    let text = text.ok().flatten().unwrap_or_else(|| "closed".to_owned());
    format!("the connection has ended after {lived:.1?}: {text}")
}
