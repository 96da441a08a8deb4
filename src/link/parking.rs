//! Where a thread waits for room to write and can be kicked out.
//!
//! The waiting thread sleeps on the condition here; the watcher wakes it with `ready`, any thread
//! with `kick`.

use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use mio::Interest;

use super::watcher::Watcher;
use super::{Flush, Waited};
use crate::sync::{Condvar, Mutex};

/// The sides of a descriptor, as indices.
const READ: usize = 0;
const WRITE: usize = 1;

/// What [`Parking::settle`] saw.
pub(crate) struct Settling {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// One a link with a descriptor, made when it is first needed: most clients read as fast as they are
/// written to, and never need it.
pub(crate) struct Parking {
    watcher: Arc<Watcher>,
    /// Our place in the watcher's table, taken by the first wait.
    token: OnceLock<usize>,
    state: Mutex<State>,
    wake: Condvar,
    /// Whom to call when there is room to write, once a backlog has asked for it.
    flush: OnceLock<Weak<dyn Flush>>,
}

/// Written by the waiting threads, the watcher and whoever kicks; each under the lock.
#[derive(Default)]
struct State {
    kicked: bool,
    aborted: bool,
    wanted: [bool; 2],
    ready: [bool; 2],
    flushing: bool,
    registered: bool,
}

impl Parking {
    pub(crate) fn new(watcher: Arc<Watcher>) -> Arc<Parking> {
        Arc::new(Parking {
            watcher,
            token: OnceLock::new(),
            state: Mutex::default(),
            wake: Condvar::new(),
            flush: OnceLock::new(),
        })
    }

    /// Blocks until there may be room to write, a kick, or the deadline. Where `descriptor` can't be
    /// watched: `Ready` at once, so that the caller goes back to the system call, which has its
    /// patience.
    pub(crate) fn wait_writable(self: &Arc<Self>, descriptor: &impl AsRawFd, deadline: Instant) -> Waited {
        let token = self.token();
        let mut state = self.state.lock();
        if state.kicked {
            return Waited::Kicked;
        }
        (state.wanted[WRITE], state.ready[WRITE]) = (true, false);
        let watched = self.watch(descriptor, token, &mut state);
        let waited = loop {
            if !watched || state.ready[WRITE] {
                break Waited::Ready;
            }
            if state.kicked {
                break Waited::Kicked;
            }
            if self.wake.wait_until(&mut state, deadline).timed_out() {
                break Waited::TimedOut;
            }
        };
        state.wanted[WRITE] = false;
        if watched && !state.kicked {
            self.watch(descriptor, token, &mut state);
        }
        // Polling must not outlive the deadline.
        if !watched && Instant::now() >= deadline {
            return Waited::TimedOut;
        }
        waited
    }

    /// Blocks until there may be room to write or, unless it is deaf, something to read, whether it
    /// was kicked or not; `None` at an abort or the deadline, or where it can't be watched.
    pub(crate) fn settle(
        self: &Arc<Self>,
        descriptor: &impl AsRawFd,
        deaf: bool,
        deadline: Instant,
    ) -> Option<Settling> {
        let token = self.token();
        let mut state = self.state.lock();
        (state.wanted, state.ready) = ([!deaf, true], [false; 2]);
        let watched = self.watch(descriptor, token, &mut state);
        while watched && state.ready == [false; 2] && !state.aborted {
            if self.wake.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.wanted = [false; 2];
        let [readable, writable] = state.ready;
        (watched && !state.aborted && (readable || writable)).then_some(Settling { readable, writable })
    }

    /// Calls `flush` from the watcher whenever there may be room to write. False where the
    /// descriptor can't be watched.
    pub(crate) fn flush_when_writable(
        self: &Arc<Self>,
        descriptor: &impl AsRawFd,
        flush: Weak<dyn Flush>,
    ) -> bool {
        self.flush.get_or_init(|| flush);
        let token = self.token();
        let mut state = self.state.lock();
        state.flushing = true;
        self.watch(descriptor, token, &mut state)
    }

    /// Ends every wait, now and from now on.
    pub(crate) fn kick(&self) {
        self.state.lock().kicked = true;
        self.wake.notify_all();
    }

    /// Ends every wait, `settle` included.
    pub(crate) fn abort(&self) {
        let mut state = self.state.lock();
        (state.kicked, state.aborted) = (true, true);
        drop(state);
        self.wake.notify_all();
    }

    /// What the watcher saw.
    pub(crate) fn ready(&self, readable: bool, writable: bool) {
        let flushing = {
            let mut state = self.state.lock();
            // A hang-up is told though nobody asked.
            state.ready[READ] |= readable && state.wanted[READ];
            state.ready[WRITE] |= writable;
            state.flushing
        };
        self.wake.notify_all();
        if flushing && writable {
            if let Some(flush) = self.flush.get().and_then(Weak::upgrade) {
                flush.flush();
            }
        }
    }

    /// Before the lock is taken: a watcher that can't be started is logged.
    fn token(self: &Arc<Self>) -> usize {
        self.watcher.prepare();
        *self.token.get_or_init(|| self.watcher.enroll(Arc::downgrade(self)))
    }

    /// Tells the watcher what is wanted now. Asking again tells what is ready already.
    fn watch(&self, descriptor: &impl AsRawFd, token: usize, state: &mut State) -> bool {
        let reading = state.wanted[READ].then_some(Interest::READABLE);
        let writing = state.wanted[WRITE] || state.flushing;
        let writing = writing.then_some(Interest::WRITABLE);
        let interest = match (reading, writing) {
            (Some(reading), Some(writing)) => reading | writing,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                state.registered = state.registered && self.watcher.unwatch(descriptor.as_raw_fd()).is_err();
                return true;
            }
        };
        let watched = self.watcher.watch(descriptor.as_raw_fd(), token, interest, state.registered);
        state.registered |= watched.is_ok();
        watched.is_ok()
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        if let Some(token) = self.token.get() {
            self.watcher.forget(*token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::threads::Threads;

    #[test]
    fn where_nobody_can_watch_a_wait_is_over_at_once_and_a_late_one_has_timed_out() {
        let threads = Threads::new();
        threads.close(|| ());
        let parking = Parking::new(Arc::new(Watcher::new(threads)));
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(parking.wait_writable(&io::stdin(), deadline), Waited::Ready);
        assert_eq!(parking.wait_writable(&io::stdin(), Instant::now()), Waited::TimedOut);
        assert!(parking.settle(&io::stdin(), false, deadline).is_none());
    }
}
