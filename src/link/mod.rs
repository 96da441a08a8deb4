//! The one small trait between clients and what carries their bytes. A new transport is a new file
//! here (or beside its server) that implements [`Link`], and nothing else.
//!
//! A link knows nothing of records, reasons or callbacks. It reads, writes, waits, and can be
//! kicked out of a wait from another thread.
//!
//! **Notice.** A read blocks in the system call itself, without a time-out, as a hand-written loop
//! does: asking for readiness first would cost a second call, and a time-out costs a kernel timer,
//! 4 % of a small message. (Off Linux the second call has to be made, see [`socket`].) Such a wait can
//! be ended from another thread only by shutting the read side down, which has a price: once our own
//! end of output is sent too, Linux answers what the peer still sends with RST
//! (`tcp_rcv_state_process`; RFC 1122, 4.2.2.13), and on RST what is not yet with the peer is lost. So
//! where something may still be under way, a kick gives [`NOTICE`] first: a reader whose peer is
//! sending comes back by itself, and has its read side untouched. Only the one that has heard nothing
//! meanwhile is shut down.

pub(crate) mod kicks;
pub(crate) mod memory;
#[cfg_attr(not(unix), path = "parking_polled.rs")]
pub(crate) mod parking;
pub(crate) mod socket;
pub(crate) mod stdio;
#[cfg_attr(not(unix), path = "watcher_none.rs")]
#[cfg_attr(all(test, shuttle), path = "../model/watcher.rs")]
pub(crate) mod watcher;

use std::io::{self, IoSlice};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How long a reader that was kicked may take to come back by itself, where it matters.
///
/// Longer than a busy peer is silent, short enough that nobody minds a close that waits for it.
#[cfg_attr(not(unix), allow(dead_code, reason = "every reader looks up by itself there"))]
pub(crate) const NOTICE: Duration = Duration::from_millis(100);
/// How long `write` blocks in the system call before it comes back with `WouldBlock`, and how soon
/// other waits look up where they can't be woken.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There may be room to write.
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
    /// Blocks until something has come, and reads it; 0 is the end of input, or a kick.
    /// `WouldBlock` when nothing came within `limit`, or sooner; at once after a kick. Never
    /// `Interrupted`.
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize>;

    /// Writes some of `parts`. `WouldBlock` when there was no room for [`PATIENCE`], or sooner. Never
    /// `Interrupted`, and 0 only for no bytes.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what there is room for now; `WouldBlock` when that is nothing. Never blocks.
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Blocks until there may be room to write, a kick, or the deadline.
    fn wait_writable(&self, deadline: Instant) -> Waited;

    /// Asks for [`Flush::flush`] whenever there may be room to write, from a thread of the link's.
    /// False where it can't be had: then the caller needs a thread that writes.
    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool;

    /// Ends every wait, from now on: that of a reader at once, or with `notice` after [`NOTICE`] (a
    /// few times that, if the peer is slow), unless it comes back by itself. What was written and
    /// what is still to be written is not touched.
    fn kick(&self, notice: bool);

    /// Whether the peer has taken nearly all that was written, or it can't be told. For a connection
    /// that ends: it may narrow the way out.
    fn is_taken(&self) -> bool;

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
