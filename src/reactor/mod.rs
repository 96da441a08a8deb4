//! Waits for sockets, and the means to end such waits from other threads.
//!
//! - [`Reactor`] is a thread that watches the sockets of a machine's clients that read slowly.
//! - [`Readiness`] is the place where a thread waits for one socket.
//!
//! The choice between platforms is made only here.

#[cfg(all(unix, not(all(test, shuttle))))]
mod poll;
#[cfg(unix)]
mod readiness;
#[cfg(not(unix))]
mod without_poll;

use std::time::Duration;

#[cfg(all(unix, not(all(test, shuttle))))]
pub(crate) use poll::Reactor;
#[cfg(unix)]
pub(crate) use readiness::Readiness;
#[cfg(not(unix))]
pub(crate) use without_poll::{Reactor, Readiness};

#[cfg(all(test, shuttle))]
pub(crate) use crate::shuttle::reactor::Reactor;

/// How much time an interrupted reader has to return by itself while output may be in transit. The time is
/// longer than the pauses of a busy peer, and short enough for a close that has to wait for it.
#[cfg_attr(not(unix), allow(dead_code, reason = "every reader returns by itself there"))]
pub(crate) const READ_GRACE: Duration = Duration::from_millis(100);
/// How long a write blocks in the system call before it returns with `WouldBlock`. Waits that no other thread
/// can end also return after this time.
pub(crate) const WAIT_SLICE: Duration = Duration::from_millis(100);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There may be room to write.
    Ready,
    /// The wait was interrupted, now or earlier.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// How a wait for a closing connection ended.
pub(crate) enum TakenWait {
    /// The descriptor is ready in at least one direction.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is watched there"))]
    Seen { writable: bool },
    /// The deadline passed, or the connection was aborted.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is watched there"))]
    TimedOut,
    /// The descriptor cannot be watched. The caller has to wait in another way.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is watched there"))]
    Unwatched,
    /// The system does not report how much the peer has taken.
    #[cfg_attr(unix, allow(dead_code, reason = "Unix reports it"))]
    Unknown,
}

/// A client with a backlog or with holds, as the transport sees it.
pub(crate) trait Flush: Send + Sync {
    /// Writes as many bytes as there is room for. Never blocks.
    #[cfg_attr(not(unix), allow(dead_code, reason = "no transport there can report room"))]
    fn flush(&self);

    /// Checks whether the peer still takes something of the backlog, and ends the connection if it has taken
    /// nothing for too long. Returns after which time to check again, or `None` if there is no backlog or no
    /// limit. Never blocks.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no timers there"))]
    fn check_progress(&self) -> Option<Duration>;

    /// The connection was lost. Never blocks, and runs functions of `on_close`.
    #[cfg_attr(not(unix), allow(dead_code, reason = "no transport there can report a loss"))]
    fn lost(&self);
}

/// A part of a transport that the reactor calls. All methods run on the reactor's thread and must not block.
/// An implementation needs only some of them.
pub(crate) trait Source: Send + Sync {
    /// The descriptor is ready.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is watched there"))]
    fn ready(&self, readable: bool, writable: bool) {
        let _ = (readable, writable);
    }

    /// The connection was lost. `ready` is called, too.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nothing is watched there"))]
    fn failed(&self) {}

    /// A timer of this source has fired. It was already extended `extensions` times. Returns after which time it
    /// fires again, or `None` if it ends.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there are no timers there"))]
    fn timer(&self, extensions: u32) -> Option<Duration> {
        let _ = extensions;
        None
    }
}
