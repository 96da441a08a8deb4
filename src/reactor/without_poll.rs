//! The reactor on systems on which it cannot watch a socket: mio wants sockets of its own on Windows.
//!
//! A wait for a socket ends there when the socket is ready or when its timeout passes, because a
//! shutdown from another thread need not wake it. A thread therefore returns to the transport's own wait
//! again and again. This is the only place in which a loop over a timeout is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::reactor::{Flush, Seen, Source, Waited};
use crate::threads::Threads;

/// Watches nothing.
pub(crate) struct Reactor;

impl Reactor {
    pub(crate) fn new(_: Arc<Threads>) -> Reactor {
        Reactor
    }

    pub(crate) fn prepare(&self) {}

    /// Returns `true`: every reader returns by itself after a short time.
    pub(crate) fn start_grace(&self, _: Weak<dyn Source>) -> bool {
        true
    }

    pub(crate) fn stop(&self) {}
}

/// Belongs to one transport.
pub(crate) struct Readiness {
    /// Set by the thread that interrupts, read by the waiting threads.
    interrupted: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(_: Arc<Reactor>) -> Arc<Readiness> {
        Arc::new(Readiness { interrupted: AtomicBool::new(false) })
    }

    /// Does not wait: the transport's next write does.
    pub(crate) fn wait_writable<T>(self: &Arc<Self>, _: &T, deadline: Instant) -> Waited {
        if self.interrupted.load(Ordering::Acquire) {
            Waited::Interrupted
        } else if Instant::now() >= deadline {
            Waited::TimedOut
        } else {
            Waited::Ready
        }
    }

    /// Returns `None`: the system does not tell how much the peer has taken.
    pub(crate) fn wait_taken<T>(self: &Arc<Self>, _: &T, _: bool, _: Instant) -> Option<Seen> {
        None
    }

    /// Returns `false`: nobody can report room here.
    pub(crate) fn flush_when_writable<T>(self: &Arc<Self>, _: &T, _: Weak<dyn Flush>) -> bool {
        false
    }

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    pub(crate) fn abort(&self) {
        self.interrupt();
    }
}
