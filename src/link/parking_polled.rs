//! Waiting where sockets can't be watched. A wait for one is over there when the socket is ready, or
//! by its time-out (a shutdown from another thread need not wake it on Windows), so a thread goes back
//! to the link's own wait, with its patience, again and again: the one place where a loop over a
//! time-out is right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::watcher::Watcher;
use super::{Flush, Waited};

/// What [`Parking::settle`] saw.
pub(crate) struct Settling {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// One a link.
pub(crate) struct Parking {
    /// Set by whoever kicks, read by the waiting threads.
    kicked: AtomicBool,
}

impl Parking {
    pub(crate) fn new(_: Arc<Watcher>) -> Arc<Parking> {
        Arc::new(Parking { kicked: AtomicBool::new(false) })
    }

    /// Doesn't wait: the link's next write does.
    pub(crate) fn wait_writable<T>(self: &Arc<Self>, _: &T, deadline: Instant) -> Waited {
        if self.kicked.load(Ordering::Acquire) {
            Waited::Kicked
        } else if Instant::now() >= deadline {
            Waited::TimedOut
        } else {
            Waited::Ready
        }
    }

    /// Can't be told.
    pub(crate) fn settle<T>(self: &Arc<Self>, _: &T, _: bool, _: Instant) -> Option<Settling> {
        None
    }

    /// Can't be had.
    pub(crate) fn flush_when_writable<T>(self: &Arc<Self>, _: &T, _: Weak<dyn Flush>) -> bool {
        false
    }

    pub(crate) fn abort(&self) {
        self.kick();
    }

    pub(crate) fn kick(&self) {
        self.kicked.store(true, Ordering::Release);
    }
}
