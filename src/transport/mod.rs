//! The trait that stands between a client and the carrier of its bytes. A new transport is one new
//! file in this folder that implements [`Transport`].
//!
//! A transport knows nothing of records, reasons or callbacks. It reads, writes and waits, and another
//! thread can interrupt such a wait.
//!
//! **Read grace.** A read blocks in the system call itself, without a timeout, as in a hand-written
//! loop. A question for readiness would cost a second system call. A timeout would cost a kernel timer, which
//! is 4 % of a small message. (Outside of Linux the second call is needed, see [`socket`].)
//!
//! Another thread can end such a wait only by shutting the read side down, and that has a price. Once our own
//! end of output is sent too, Linux answers later data of the peer with RST (`tcp_rcv_state_process`;
//! RFC 1122, 4.2.2.13), and RST destroys the output that has not reached the peer yet. Therefore an
//! interrupt first grants the reader [`READ_GRACE`](crate::reactor::READ_GRACE) if output may still be
//! under way. A reader whose peer sends something comes back by itself, and its read side stays open. The
//! read side is shut down only if the peer is silent for that time.

mod linger;
pub(crate) mod memory;
pub(crate) mod socket;
#[cfg(not(unix))]
mod stdio_thread;
#[cfg(unix)]
mod stdio_unix;

use std::io::{self, IoSlice};
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::reactor::{Flush, Waited};

#[cfg(not(unix))]
pub(crate) use stdio_thread::StdioTransport;
#[cfg(unix)]
pub(crate) use stdio_unix::StdioTransport;

/// Carries the bytes of one client.
///
/// One thread reads. Any thread may write, but only one at a time: the client sees to that. Any thread
/// may interrupt and abort.
///
/// A new transport has six methods to write. `flush_when_writable` and `linger` have defaults for a
/// transport that cannot report room to write, and that loses nothing when it is dropped.
pub(crate) trait Transport: Send + Sync {
    /// Blocks until bytes have arrived and reads them, for at most `limit`.
    ///
    /// # Errors
    /// The error of the system if the connection was lost. Never `Interrupted`, `WouldBlock` or
    /// `TimedOut`.
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received>;

    /// Writes a part of `parts` and returns its length, which is 0 only if `parts` is empty. Blocks for
    /// at most [`WAIT_SLICE`](crate::reactor::WAIT_SLICE).
    ///
    /// # Errors
    /// `WouldBlock` if there was no room until then; the error of the system if the connection was
    /// lost. Never `Interrupted`.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes as much of `parts` as there is room for now. Never blocks.
    ///
    /// # Errors
    /// The same as for [`write`](Transport::write).
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Blocks until there may be room to write, until an interrupt, or until the deadline.
    fn wait_writable(&self, deadline: Instant) -> Waited;

    /// Ends the running wait of the reader and of every writer, and all later waits. Output is not
    /// touched, whether it is under way or still to be written.
    fn interrupt(&self, grace: Grace);

    /// Ends the connection at once and drops the output that is not delivered yet. Every blocked call
    /// returns, `linger` included.
    fn abort(&self);

    /// Asks for [`Flush::flush`] whenever there may be room to write, on a thread of the reactor.
    /// Returns `false` if this transport cannot report that: then the caller needs a thread that writes.
    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        drop(flush);
        false
    }

    /// Delivers the output that was written, sends the end of output, and drops what the peer still
    /// sends. Blocks within the bounds of `linger`. The last call before the transport is dropped,
    /// unless the connection was aborted.
    fn linger(&self, linger: &Linger) {
        let _ = linger;
    }
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// This many bytes were read, at least one.
    Bytes(usize),
    /// The peer has ended its output.
    EndOfInput,
    /// [`Transport::interrupt`] was called, now or earlier.
    Interrupted,
    /// Nothing arrived within the limit, or a signal ended the wait sooner.
    TimedOut,
}

/// Whether an interrupted reader gets time to come back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// No: no output is under way.
    Skip,
    /// Only if the transport finds that the peer has not taken all output yet.
    IfUntaken,
    /// Yes: output may be under way.
    Give,
}

/// The knowledge about the output at the end of a connection, and the time that the end may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    /// Something was written within the last second, so the peer may not have received it yet.
    pub(crate) written_lately: bool,
    /// More was written than every peer takes at once, so a slow peer may not have received it yet.
    pub(crate) maybe_untaken: bool,
    /// How long the peer may neither read nor send.
    pub(crate) quiet: Duration,
    /// When all has to be over.
    pub(crate) deadline: Instant,
}
