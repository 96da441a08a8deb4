//! The acceptor: one thread a server, which accepts and hands over, and never runs user code.
//!
//! It waits for its listeners and a waker together. The waker is pulled when the server stops, is
//! suspended or resumed, and when a place comes free that the acceptor waits for. It ends when the
//! server stops or a listener goes bad for good; its listeners close first, then the clients.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::report::{report, Escaped};
use crate::server::accept_error::{remedy, Remedy};
use crate::server::core::{Listening, ServerCore};

const WAKE: Token = Token(usize::MAX);
/// The first and the longest pause after an error that wants one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// So many dead connections in a row are taken for an error that wants a pause.
const SKIPS: u32 = 64;

/// Something that clients can be accepted from.
pub(crate) trait Listener: mio::event::Source + Send + 'static {
    /// What comes in.
    type Arrival;

    /// Takes one from the queue. Never blocks.
    fn accept(&self) -> io::Result<Self::Arrival>;
}

/// Accepts for one server.
pub(crate) struct Acceptor<L> {
    poll: Poll,
    doors: Vec<Door<L>>,
    core: Arc<ServerCore>,
    back_off: Option<BackOff>,
    skips: u32,
    /// Dropped last: the listeners are closed by then.
    _listening: Listening,
}

struct Door<L> {
    listener: L,
    /// There may be someone in its queue. (The poll tells each arrival once.)
    ready: bool,
}

struct BackOff {
    until: Instant,
    pause: Duration,
}

impl<L: Listener> Acceptor<L> {
    pub(crate) fn new(core: &Arc<ServerCore>, listeners: Vec<L>) -> io::Result<Acceptor<L>> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mut doors = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            poll.registry().register(&mut listener, Token(index), mio::Interest::READABLE)?;
            doors.push(Door { listener, ready: true });
        }
        let listening = core.listen(move || {
            if let Err(error) = waker.wake() {
                report!(Error, "cannot wake an acceptor: {error}");
            }
        });
        let core = Arc::clone(core);
        Ok(Acceptor { poll, doors, core, back_off: None, skips: 0, _listening: listening })
    }

    /// Accepts until the server stops. `welcome` hands an arrival over and doesn't wait for it; its
    /// error has cost that arrival.
    pub(crate) fn run(mut self, welcome: impl Fn(L::Arrival) -> io::Result<()>) {
        let mut events = Events::with_capacity(16);
        while !self.core.is_stopping() {
            let Some(timeout) = self.pause() else {
                if let Err(error) = self.accept_from_each(&welcome) {
                    self.core.fail(error);
                }
                continue;
            };
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.core.fail(error);
                }
            }
            for event in &events {
                if let Some(door) = self.doors.get_mut(event.token().0) {
                    door.ready = true;
                }
            }
        }
    }

    /// How long to wait before the next accept: `None` is not at all, `Some(None)` until woken.
    fn pause(&mut self) -> Option<Option<Duration>> {
        if self.core.is_suspended() || !self.doors.iter().any(|door| door.ready) {
            return Some(None);
        }
        if let Some(back_off) = &self.back_off {
            let left = back_off.until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Some(Some(left));
            }
        }
        if !self.core.has_room() {
            self.warn(format_args!(
                "{} clients are served, more wait; raise it with max_clients",
                self.core.limits().max_clients()
            ));
            return Some(None);
        }
        None
    }

    /// One from each queue in which there may be someone. An error is the end of the server.
    fn accept_from_each(&mut self, welcome: &impl Fn(L::Arrival) -> io::Result<()>) -> io::Result<()> {
        for index in 0..self.doors.len() {
            let door = &mut self.doors[index];
            if !door.ready || !self.core.has_room() {
                continue;
            }
            match door.listener.accept() {
                Ok(arrival) => {
                    (self.back_off, self.skips) = (None, 0);
                    if let Err(error) = welcome(arrival) {
                        self.core.counters.refused.fetch_add(1, Ordering::Relaxed);
                        if !self.core.is_stopping() {
                            self.warn(format_args!("a client could not be served: {error}"));
                        }
                    }
                }
                Err(error) => match remedy(&error) {
                    Remedy::Wait => door.ready = false,
                    Remedy::Skip if self.skips < SKIPS => {
                        self.skips += 1;
                        self.core.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                        report!(Debug, "a connection died before it was accepted: {error}");
                    }
                    Remedy::Skip | Remedy::BackOff => {
                        self.core.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                        self.back_off(&error);
                        return Ok(());
                    }
                    Remedy::GiveUp => return Err(error),
                },
            }
        }
        Ok(())
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
