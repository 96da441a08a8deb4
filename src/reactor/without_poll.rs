//! The reactor for systems on which it cannot watch a socket. On Windows, mio can watch only its own sockets.
//!
//! On such a system, a wait for a socket ends only when the socket is ready or when the timeout of the wait
//! passes, because a shutdown from another thread does not reliably end it. Therefore a thread repeats the
//! transport's wait with a short timeout. This is the only place in which such a loop is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::reactor::{Flush, Source, TakenWait, Waited};
use crate::threads::MachineThreads;

/// Watches nothing.
pub(crate) struct Reactor;

impl Reactor {
    pub(crate) fn new(_: Arc<MachineThreads>) -> Reactor {
        Reactor
    }

    pub(crate) fn prepare(&self) {}

    /// Returns `true`, because every reader returns by itself after a short time.
    pub(crate) fn start_timer(&self, _: Weak<dyn Source>, _: Duration) -> bool {
        true
    }

    pub(crate) fn stop(&self) {}
}

/// Belongs to one transport.
pub(crate) struct Readiness {
    /// Set by the thread that interrupts, and read by the waiting threads.
    interrupted: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(_: Arc<Reactor>) -> Arc<Readiness> {
        Arc::new(Readiness { interrupted: AtomicBool::new(false) })
    }

    /// Does not wait, because the next write of the transport waits.
    pub(crate) fn wait_writable<T>(self: &Arc<Self>, _: &T, deadline: Instant) -> Waited {
        if self.interrupted.load(Ordering::Acquire) {
            Waited::Interrupted
        } else if Instant::now() >= deadline {
            Waited::TimedOut
        } else {
            Waited::Ready
        }
    }

    /// Does not wait, because the system does not report how much the peer has taken.
    pub(crate) fn wait_taken<T>(self: &Arc<Self>, _: &T, _: bool, _: Instant) -> TakenWait {
        TakenWait::Unknown
    }

    /// Returns `false`, because no thread can report room to write.
    pub(crate) fn flush_when_writable<T>(self: &Arc<Self>, _: &T, _: Weak<dyn Flush>) -> bool {
        false
    }

    /// Does nothing, because no thread can notice a loss.
    pub(crate) fn report_loss<T>(self: &Arc<Self>, _: &T, _: Weak<dyn Flush>) {}

    /// Does nothing, because nothing is watched.
    pub(crate) fn unwatch<T>(&self, _: &T) {}

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    pub(crate) fn abort(&self) {
        self.interrupt();
    }
}
