//! The acceptor: one thread for each address of a server, which accepts and hands over, and never
//! runs user code.
//!
//! It blocks in [`Listener::accept`], which the stop of the server ends, or waits for the server's
//! bell while it may not accept: suspended, full, backing off. Whom it has accepted meanwhile waits
//! with it, as the others do in the kernel's queue. It ends when the server stops or its listener
//! goes bad for good; its listener closes first, then the clients.
//!
//! **When descriptors run out** it leaves who comes in the kernel's queue and tries again after a
//! pause of a second at most. It doesn't shed them with the old trick (keep a spare descriptor, close
//! it, accept, close, open the spare again): a lack that clients would have waited out becomes an
//! error for each of them, and those that try again at once make it a loop. Who waits in the queue is
//! served when a descriptor comes free; a queue that is full is the kernel's to answer. All that this
//! thread needs for waiting, warning and stopping it has from its start.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::report::{report, Escaped};
use crate::server::accept_error::{remedy, Remedy};
use crate::server::core::{Listening, Seat, ServerCore};

/// The first and the longest pause after an error that wants one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// So many dead connections in a row are taken for an error that wants a pause.
const SKIPS: u32 = 64;

/// Something that clients can be accepted from.
pub(crate) trait Listener: Send + 'static {
    /// What comes in.
    type Arrival;

    /// What ends the wait of `accept`, and all its waits from then on, whenever that is called.
    fn interrupter(&self) -> Box<dyn FnOnce() + Send>;

    /// Waits for one and takes it from the queue. Any error once it was interrupted.
    fn accept(&mut self) -> io::Result<Self::Arrival>;
}

/// Accepts for one server, from one listener.
pub(crate) struct Acceptor<L> {
    listener: L,
    core: Arc<ServerCore>,
    back_off: Option<BackOff>,
    skips: u32,
    /// Dropped last: the listener is closed by then.
    _listening: Listening,
}

struct BackOff {
    until: Instant,
    pause: Duration,
}

impl<L: Listener> Acceptor<L> {
    pub(crate) fn new(core: &Arc<ServerCore>, listener: L) -> Acceptor<L> {
        core.on_stop(listener.interrupter());
        let listening = core.listen();
        Acceptor { listener, core: Arc::clone(core), back_off: None, skips: 0, _listening: listening }
    }

    /// Accepts until the server stops. `welcome` hands an arrival over and doesn't wait for it; its
    /// error has cost that arrival.
    pub(crate) fn run(mut self, welcome: impl Fn(Seat, L::Arrival) -> io::Result<()>) {
        while self.await_room() {
            match self.listener.accept() {
                Ok(arrival) => {
                    (self.back_off, self.skips) = (None, 0);
                    let Some(seat) = self.await_seat() else {
                        self.core.counters.refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    };
                    if let Err(error) = welcome(seat, arrival) {
                        self.core.counters.refused.fetch_add(1, Ordering::Relaxed);
                        if !self.core.is_stopping() {
                            self.warn(format_args!("a client could not be served: {error}"));
                        }
                    }
                }
                Err(_) if self.core.is_stopping() => return,
                // A signal: no matter how many come, nobody has to wait for that.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if remedy(&error) == Remedy::GiveUp {
                        return self.core.fail(error);
                    }
                    self.core.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    if remedy(&error) == Remedy::Skip && self.skips < SKIPS {
                        self.skips += 1;
                        report!(Debug, "a connection died before it was accepted: {error}");
                    } else {
                        self.back_off(&error);
                    }
                }
            }
        }
    }

    /// Blocks until one may be accepted. False once the server stops.
    fn await_room(&self) -> bool {
        self.wait_for(|| self.core.has_room().then_some(())).is_some()
    }

    /// Blocks until there is a place for whom was accepted. `None` once the server stops.
    fn await_seat(&self) -> Option<Seat> {
        self.wait_for(|| self.core.seat())
    }

    /// Blocks while the server is suspended, backs off, or lacks the room that `take` is after.
    fn wait_for<T>(&self, take: impl Fn() -> Option<T>) -> Option<T> {
        loop {
            let rings = self.core.bell.rings();
            if self.core.is_stopping() {
                return None;
            }
            let mut until = self.back_off.as_ref().map(|back_off| back_off.until);
            until = until.filter(|until| *until > Instant::now());
            if until.is_none() && !self.core.is_suspended() {
                if let Some(taken) = take() {
                    return Some(taken);
                }
                if !self.core.is_stopping() {
                    self.warn(format_args!(
                        "{} clients are served, more may wait; raise it with max_clients",
                        self.core.limits().max_clients()
                    ));
                }
            }
            self.core.bell.wait(rings, until);
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let pause = self.back_off.as_ref().map_or(BACK_OFF.0, |last| (last.pause * 2).min(BACK_OFF.1));
        self.back_off = Some(BackOff { until: Instant::now() + pause, pause });
        self.warn(format_args!("cannot accept, trying again: {error}"));
    }

    fn warn(&self, message: std::fmt::Arguments<'_>) {
        if let Some(more) = self.core.warnings.admit(Instant::now()) {
            let name = self.core.name();
            report!(Warn, "server {}: {message} ({more} such warnings held back)", Escaped(name));
        }
    }
}
