//! The place where a thread waits until a descriptor is ready, and where other threads can interrupt it.
//!
//! The waiting thread sleeps on a condition variable. The reactor wakes it with `ready`, and any thread can
//! wake it with `interrupt` or `abort`.

use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use mio::Interest;

use crate::reactor::{Flush, Reactor, Source, TakenWait, Waited};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

/// The two directions of a descriptor, as indices.
const READ: usize = 0;
const WRITE: usize = 1;

/// Belongs to one transport that has a descriptor. It is created when it is first needed. Most clients read
/// fast enough and never need it.
pub(crate) struct Readiness {
    reactor: Arc<Reactor>,
    /// Our token in the reactor's table. Requested by the first wait, and released when this is dropped.
    token: OnceLock<usize>,
    state: Mutex<ReadinessState>,
    /// Signalled when the state changes. The waiting threads wait for this.
    changed: Condvar,
    /// The client to call when there is room to write or the connection is lost. Set by the first backlog, or
    /// by the session when it waits for holds.
    flush: OnceLock<Weak<dyn Flush>>,
    /// `true` if a timer runs that checks the progress of the backlog. Set by the thread that starts the timer,
    /// and cleared by the reactor.
    timed: AtomicBool,
}

/// Written under the lock by the waiting threads, by the reactor, and by the thread that interrupts.
#[derive(Default)]
struct ReadinessState {
    interrupted: bool,
    aborted: bool,
    /// The directions that a thread waits for.
    wanted: [bool; 2],
    /// The directions that the reactor has reported since the wait began.
    ready: [bool; 2],
    /// `true` if a backlog also waits for room.
    flushing: bool,
    /// `true` if the client must be told when the connection is lost.
    watching: bool,
    /// `true` if the descriptor is registered with the reactor.
    registered: bool,
}

impl Readiness {
    pub(crate) fn new(reactor: Arc<Reactor>) -> Arc<Readiness> {
        Arc::new(Readiness {
            reactor,
            token: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
            flush: OnceLock::new(),
            timed: AtomicBool::new(false),
        })
    }

    /// Blocks until there may be room to write, until an interrupt, or until the deadline.
    ///
    /// If `descriptor` cannot be registered, this returns `Ready` at once. The caller then waits in the
    /// system call, which returns after [`WAIT_SLICE`](crate::reactor::WAIT_SLICE).
    pub(crate) fn wait_writable(self: &Arc<Self>, descriptor: &impl AsRawFd, deadline: Instant) -> Waited {
        let token = self.token();
        let mut state = self.state.lock();
        if state.interrupted {
            return Waited::Interrupted;
        }
        (state.wanted[WRITE], state.ready[WRITE]) = (true, false);
        let watched = self.register(descriptor, token, &mut state);
        let waited = loop {
            if !watched || state.ready[WRITE] {
                break Waited::Ready;
            }
            if state.interrupted {
                break Waited::Interrupted;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break Waited::TimedOut;
            }
        };
        state.wanted[WRITE] = false;
        if watched && !state.interrupted {
            self.register(descriptor, token, &mut state);
        }
        // The caller must not repeat the system call after the deadline.
        if !watched && Instant::now() >= deadline {
            return Waited::TimedOut;
        }
        waited
    }

    /// Blocks while a connection is closing, until there may be room to write or something to read. An
    /// earlier interrupt does not end this wait. If the read side was shut down (`read_shut`), waits only for
    /// room.
    pub(crate) fn wait_taken(
        self: &Arc<Self>,
        descriptor: &impl AsRawFd,
        read_shut: bool,
        deadline: Instant,
    ) -> TakenWait {
        let token = self.token();
        let mut state = self.state.lock();
        (state.wanted, state.ready) = ([!read_shut, true], [false; 2]);
        let watched = self.register(descriptor, token, &mut state);
        while watched && state.ready == [false; 2] && !state.aborted {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.wanted = [false; 2];
        let [readable, writable] = state.ready;
        match (watched, readable || writable) {
            (_, true) => TakenWait::Seen { writable },
            (true, false) => TakenWait::TimedOut,
            (false, false) => TakenWait::Unwatched,
        }
    }

    /// Calls `flush` on the reactor's thread whenever there may be room to write. Returns `false` if
    /// `descriptor` cannot be registered.
    pub(crate) fn flush_when_writable(
        self: &Arc<Self>,
        descriptor: &impl AsRawFd,
        flush: Weak<dyn Flush>,
    ) -> bool {
        self.flush.get_or_init(|| flush);
        let token = self.token();
        let watched = {
            let mut state = self.state.lock();
            state.flushing = true;
            self.register(descriptor, token, &mut state)
        };
        if let Some(after) = self.next_check() {
            let source: Weak<dyn Source> = Arc::<Self>::downgrade(self);
            self.reactor.start_timer(source, after);
        }
        watched
    }

    /// Claims the timer that checks the progress of the backlog, and returns when it has to fire. Returns `None`
    /// if no timer is needed, or if another one runs.
    fn next_check(&self) -> Option<Duration> {
        if self.timed.load(Ordering::Acquire) {
            return None;
        }
        let after = self.flush.get()?.upgrade()?.check_progress()?;
        (!self.timed.swap(true, Ordering::AcqRel)).then_some(after)
    }

    /// Calls `client` on the reactor's thread when the connection is lost.
    pub(crate) fn report_loss(self: &Arc<Self>, descriptor: &impl AsRawFd, client: Weak<dyn Flush>) {
        self.flush.get_or_init(|| client);
        let token = self.token();
        let mut state = self.state.lock();
        state.watching = true;
        self.register(descriptor, token, &mut state);
    }

    /// Ends every wait for room, the running waits and all later ones.
    pub(crate) fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Ends every wait, `wait_taken` included.
    pub(crate) fn abort(&self) {
        let mut state = self.state.lock();
        (state.interrupted, state.aborted) = (true, true);
        drop(state);
        self.changed.notify_all();
    }

    /// Stops the watch, before `descriptor` is closed.
    ///
    /// While the reactor looks at a descriptor, the kernel keeps its file open (Linux since May 2024, commit
    /// 4efaa5acf0a1, `epi_fget` in `eventpoll.c`). If the descriptor is closed at that time, the connection ends only
    /// when the reactor has returned from its wait, which may be never. `epoll_ctl` waits until the reactor does not
    /// look.
    pub(crate) fn unwatch(&self, descriptor: &impl AsRawFd) {
        self.state.lock().unwatch(&self.reactor, descriptor);
    }

    /// Returns our token. Called before the lock is taken, because a reactor that cannot start logs an error.
    fn token(self: &Arc<Self>) -> usize {
        self.reactor.prepare();
        *self.token.get_or_init(|| {
            let source: Weak<dyn Source> = Arc::<Self>::downgrade(self);
            self.reactor.add(source)
        })
    }

    /// Tells the reactor which directions to watch. A direction that is already ready is reported again.
    fn register(&self, descriptor: &impl AsRawFd, token: usize, state: &mut ReadinessState) -> bool {
        // A loss is reported for each direction that is watched.
        let reading = (state.wanted[READ] || state.watching).then_some(Interest::READABLE);
        let writing = state.wanted[WRITE] || state.flushing;
        let writing = writing.then_some(Interest::WRITABLE);
        let interest = match (reading, writing) {
            (Some(reading), Some(writing)) => reading | writing,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                state.unwatch(&self.reactor, descriptor);
                return true;
            }
        };
        let watched = self.reactor.register(descriptor.as_raw_fd(), token, interest, state.registered);
        state.registered |= watched.is_ok();
        watched.is_ok()
    }
}

impl ReadinessState {
    fn unwatch(&mut self, reactor: &Reactor, descriptor: &impl AsRawFd) {
        self.registered = self.registered && reactor.deregister(descriptor.as_raw_fd()).is_err();
    }
}

impl Source for Readiness {
    fn ready(&self, readable: bool, writable: bool) {
        let flushing = {
            let mut state = self.state.lock();
            // The system reports a hang-up even if no thread waits for it.
            state.ready[READ] |= readable && state.wanted[READ];
            state.ready[WRITE] |= writable;
            state.flushing
        };
        self.changed.notify_all();
        if flushing && writable {
            if let Some(flush) = self.flush.get().and_then(Weak::upgrade) {
                flush.flush();
            }
        }
    }

    fn timer(&self, _: u32) -> Option<Duration> {
        if let Some(after) = self.flush.get()?.upgrade()?.check_progress() {
            return Some(after);
        }
        self.timed.store(false, Ordering::Release);
        // A new backlog may have found the timer still running.
        self.next_check()
    }

    fn failed(&self) {
        let watching = self.state.lock().watching;
        if let (true, Some(client)) = (watching, self.flush.get().and_then(Weak::upgrade)) {
            client.lost();
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if let Some(token) = self.token.get() {
            self.reactor.remove(*token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::threads::MachineThreads;

    /// A client that answers each check of its progress with the next of these.
    struct Answers(std::sync::Mutex<Vec<Option<Duration>>>);

    impl Flush for Answers {
        fn flush(&self) {}
        fn check_progress(&self) -> Option<Duration> {
            self.0.lock().unwrap().remove(0)
        }
        fn lost(&self) {}
    }

    fn unwatched() -> Arc<Readiness> {
        let threads = MachineThreads::new();
        threads.close(|| ());
        Readiness::new(Arc::new(Reactor::new(threads)))
    }

    #[test]
    fn a_backlog_has_one_timer_and_the_next_backlog_has_one_again() {
        const AFTER: Option<Duration> = Some(Duration::from_secs(1));
        let client = Arc::new(Answers(std::sync::Mutex::default()));
        let readiness = unwatched();
        let flush: Weak<Answers> = Arc::downgrade(&client);
        readiness.flush.get_or_init(|| flush);
        let answer = |answers: &[Option<Duration>]| {
            let mut unused = client.0.lock().unwrap();
            assert!(unused.is_empty(), "{unused:?}");
            unused.extend(answers);
        };
        answer(&[AFTER]);
        assert_eq!(readiness.next_check(), AFTER);
        assert_eq!(readiness.next_check(), None, "the timer runs");
        answer(&[AFTER]);
        assert_eq!(readiness.timer(0), AFTER, "the backlog is still there");
        answer(&[None, AFTER]);
        assert_eq!(readiness.timer(1), AFTER, "a new backlog has come during the check");
        answer(&[None, None]);
        assert_eq!(readiness.timer(2), None);
        answer(&[AFTER]);
        assert_eq!(readiness.next_check(), AFTER, "a new backlog");
        drop(client);
        assert_eq!(readiness.timer(0), None, "the client has ended");
    }

    #[test]
    fn without_a_reactor_a_wait_ends_at_once_and_a_late_one_has_timed_out() {
        let readiness = unwatched();
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(readiness.wait_writable(&io::stdin(), deadline), Waited::Ready);
        assert_eq!(readiness.wait_writable(&io::stdin(), Instant::now()), Waited::TimedOut);
        assert!(matches!(readiness.wait_taken(&io::stdin(), false, deadline), TakenWait::Unwatched));
    }
}
