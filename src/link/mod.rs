//! The one small trait between clients and what carries their bytes. A new transport is a new file
//! here (or beside its server) that implements [`Link`], and nothing else.
//!
//! A link knows nothing of records, reasons or callbacks. It reads, writes, waits, and can be
//! kicked out of a wait from another thread.
//!
//! **Patience.** A blocking `recv(2)` can be woken from another thread only by shutting the read
//! side down, and a kernel answers data that arrives after that with RST, which destroys replies
//! still on their way. So a wait has two stages. For [`PATIENCE`] the thread blocks in the system
//! call itself, which is as fast as a hand-written loop; then it comes back with `WouldBlock` and
//! parks in [`Link::wait_readable`], which a kick wakes at once and where nothing polls.

pub(crate) mod memory;
#[cfg_attr(not(unix), path = "parking_polled.rs")]
pub(crate) mod parking;
pub(crate) mod socket;
pub(crate) mod stdio;
#[cfg_attr(not(unix), path = "watcher_none.rs")]
pub(crate) mod watcher;

use std::io::{self, IoSlice};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How long `read` and `write` block in the system call before they come back with `WouldBlock`.
///
/// Long enough that a busy client never parks, short enough that nobody minds a close that waits
/// for it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There may be something to read, or room to write.
    Ready,
    /// [`Link::kick`] was called, now or earlier.
    Kicked,
    /// The deadline passed.
    TimedOut,
}

/// What carries one client's bytes.
///
/// One thread reads; any thread may write, one at a time (the client's output sees to that); any
/// thread may kick or abort.
pub(crate) trait Link: Send + Sync {
    /// Reads what has arrived; 0 is the end of input. `WouldBlock` when nothing came for
    /// [`PATIENCE`]. Never `Interrupted`.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Blocks until there may be something to read, a kick, or the deadline.
    fn wait_readable(&self, deadline: Option<Instant>) -> Waited;

    /// Writes some of `parts`. `WouldBlock` when there was no room for [`PATIENCE`]. Never
    /// `Interrupted`, and 0 only for no bytes.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what there is room for now; `WouldBlock` when that is nothing. Never blocks.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Blocks until there may be room to write, a kick, or the deadline.
    fn wait_writable(&self, deadline: Instant) -> Waited;

    /// Asks for [`Flush::flush`] whenever there may be room to write, from a thread of the link's.
    /// False where it can't be had: then the caller needs a thread that writes.
    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool;

    /// Ends every wait, now and from now on. Leaves the connection as it is.
    fn kick(&self);

    /// Waits until the peer has taken nearly all that was written, as far as the link can tell, and
    /// drops what it sends meanwhile. True if that took a while: the peer reads slowly.
    fn settle(&self, deadline: Instant) -> bool;

    /// Tells the peer that nothing more will come.
    fn shut_write(&self);

    /// Reads and drops what the peer still sends: until it ends its side too, or is silent for
    /// `quiet`, or `total` has passed. A zero `quiet` drops what is there and doesn't wait.
    fn drain(&self, quiet: Duration, total: Duration);

    /// Ends the connection at once and drops what is not delivered yet. A blocked `read`, `write`,
    /// `settle` or `drain` comes back.
    fn abort(&self);
}

/// What a link calls when there is room for a backlog.
pub(crate) trait Flush: Send + Sync {
    /// Writes what there is room for. Never blocks.
    #[cfg_attr(not(unix), allow(dead_code, reason = "no link there can say when there is room"))]
    fn flush(&self);
}
