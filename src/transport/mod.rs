//! [`Transport`]: the trait for the connection that carries the bytes of a client. To add a transport, write
//! a new file in this folder that implements the trait.
//!
//! A transport knows nothing about records, reasons or callbacks. It reads, writes and waits, and another
//! thread can interrupt its waits.
//!
//! **Read grace.** On Linux, a read blocks in the system call itself, without a timeout, as in a hand-written
//! loop. Waiting for readiness first would cost a second system call, and a timeout would cost a kernel
//! timer, which is 4 % of the time of a small message. (On other systems the second call is needed, see
//! [`socket`].)
//!
//! Another thread can end such a read only by shutting down the read side, and this has a disadvantage. When
//! the write side is shut down too, Linux answers later data of the peer with RST (`tcp_rcv_state_process`;
//! RFC 1122, 4.2.2.13), and RST destroys output that has not reached the peer yet. Therefore, if output may
//! still be in transit, an interrupt first gives the reader [`READ_GRACE`](crate::reactor::READ_GRACE), and
//! more of it while the kernel holds output that was never sent. If the peer sends something during that time,
//! the read returns by itself and the read side stays open. The read side is shut down only if the peer is
//! silent for that time. After that, the write side is shut down only when the peer has taken all output.

pub(crate) mod interrupt;
mod linger;
pub(crate) mod memory;
pub(crate) mod proxy_header;
pub(crate) mod socket;
#[cfg(unix)]
mod stdio_guard;
#[cfg(unix)]
mod stdio_outlet;
#[cfg(target_os = "linux")]
mod stdio_socket;
#[cfg(not(unix))]
mod stdio_thread;
#[cfg(unix)]
mod stdio_unix;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(unix)]
pub(crate) mod unix;

use std::io::{self, IoSlice};
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::reactor::{Flush, Waited};

#[cfg(unix)]
pub(crate) use stdio_guard::StdioGuard;
#[cfg(not(unix))]
pub(crate) use stdio_thread::{Stdio, StdioGuard};
#[cfg(unix)]
pub(crate) use stdio_unix::Stdio;

/// A descriptor that a poll can watch.
#[cfg(unix)]
pub(crate) type Descriptor = std::os::fd::RawFd;
/// No value of this type exists, because nothing is watched there.
#[cfg(not(unix))]
pub(crate) type Descriptor = std::convert::Infallible;

/// Carries the bytes of one client.
///
/// One thread reads. Any thread may write, but the client ensures that only one thread writes at a time. Any
/// thread may interrupt and abort.
///
/// A new transport must implement six methods. The defaults of `flush_when_writable` and `linger` are for a
/// transport that cannot report room to write, and that loses no output when it is dropped.
pub(crate) trait Transport: Send + Sync {
    /// Blocks until bytes have arrived and reads them, for at most `limit`.
    ///
    /// # Errors
    /// Returns the error of the operating system if the connection was lost. Never returns `Interrupted`,
    /// `WouldBlock` or `TimedOut`.
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received>;

    /// Returns the descriptor that becomes readable when there is something to read. The default is for a transport
    /// whose clients have threads of their own. Any other transport does not block in a read with a limit of zero.
    fn descriptor(&self) -> Option<Descriptor> {
        None
    }

    /// Returns `true` if a read that does not fill its buffer has read everything that has arrived.
    fn reads_all(&self) -> bool {
        true
    }

    /// Writes a part of `parts` and returns its length, which is 0 only if `parts` is empty. Blocks for
    /// at most [`WAIT_SLICE`](crate::reactor::WAIT_SLICE).
    ///
    /// A transport may keep a part that it has not counted yet, for example because it is already encrypted.
    /// Therefore, after a short count or `WouldBlock`, the next bytes to write must be the rest, in any
    /// portions and by any call, unless the connection is aborted.
    ///
    /// # Errors
    /// Returns `WouldBlock` if there was no room during that time, or the error of the operating system if
    /// the connection was lost. Never returns `Interrupted`.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes as much of `parts` as there is room for. Never blocks.
    ///
    /// # Errors
    /// The same as for [`write`](Transport::write).
    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Blocks until there may be room to write, until an interrupt, or until the deadline.
    fn wait_writable(&self, deadline: Instant) -> Waited;

    /// Ends the current waits of the reader and of all writers, and all later waits. Output is not affected,
    /// neither output in transit nor output that is still to be written. After an interrupt, `write` may still
    /// be called.
    fn interrupt(&self, grace: Grace);

    /// Ends the connection at once and drops the output that is not delivered yet. Every blocked call
    /// returns, `linger` included.
    fn abort(&self);

    /// Requests that the reactor's thread calls [`Flush::flush`] whenever there may be room to write. Returns
    /// `false` if this transport cannot report room. The caller then needs a thread that writes.
    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        drop(flush);
        false
    }

    /// Requests that [`Flush::lost`] is called when the connection is lost. The session requests this when it
    /// no longer reads and waits for holds. The default is for a transport that cannot notice a loss.
    fn report_loss(&self, client: Weak<dyn Flush>) {
        drop(client);
    }

    /// Sends what the protocol of the transport itself requires at the end of a connection, after everything
    /// that was written. Blocks like [`write`](Transport::write). Returns how many bytes were sent, or `None`
    /// if nothing is left to send. The default is for a transport that sends nothing of its own.
    ///
    /// # Errors
    /// The same as for [`write`](Transport::write).
    fn write_farewell(&self) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Sends the end of output after everything that was written. Never blocks. Later writes fail. The
    /// default is for a transport that can only end both directions.
    fn end_output(&self) {}

    /// Returns `true` if the peer has taken nearly all output, or if this side cannot tell. Never blocks. It is
    /// called only if nothing more will be written, because it may slow down later writes.
    fn is_taken(&self) -> bool {
        true
    }

    /// Asks the system to end the connection when the peer takes nothing of the output for as long as
    /// `quiet`. A read or write then fails with `TimedOut`. Returns `false` if the system cannot do that. The
    /// caller then has to watch whether writes make progress.
    fn limit_quiet(&self, quiet: Duration) -> bool {
        let _ = quiet;
        false
    }

    /// Returns `true` if the connection is in plain text and can switch to TLS.
    #[cfg(feature = "tls")]
    fn can_start_tls(&self) -> bool {
        false
    }

    /// Switches to TLS, and does the handshake on the calling thread, which must be the thread that reads. No
    /// thread may write until this has returned. If it fails, the connection is unusable.
    ///
    /// # Errors
    /// `Unsupported` by default.
    #[cfg(feature = "tls")]
    fn start_tls(&self) -> io::Result<crate::tls::Session> {
        Err(no_start_tls())
    }

    /// Delivers the output that was written, sends the end of output, and drops data that the peer still
    /// sends. Blocks within the time limits of `linger`. This is the last call before the transport is
    /// dropped, unless the connection was aborted.
    fn linger(&self, linger: &Linger) -> Lingered {
        let _ = linger;
        Lingered::Finished
    }
}

/// The error for a connection that cannot switch to TLS.
#[cfg(feature = "tls")]
fn no_start_tls() -> io::Error {
    let message = "this connection cannot switch to TLS; use the method `start_tls` of the server's builder";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// How a linger ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lingered {
    /// The peer has taken all output, as far as this side can tell, or it has disconnected.
    Finished,
    /// The peer did not take all output within the time limits.
    TooSlow,
    /// The end of output was sent, without a wait. The caller drops the input until the peer ends its output, until the
    /// peer is silent for some time, or until the deadline.
    Drains,
    /// The peer has not taken all output, so this is impossible without a wait.
    MustWait,
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
    /// Nothing arrived within the limit, or a signal ended the wait earlier.
    TimedOut,
}

/// Whether an interrupted reader gets time to return by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// It gets no time, because no output is in transit.
    Skip,
    /// It gets time, because output may be in transit.
    Give,
}

/// The state of the output of a closing connection, and the time limits of the closing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linger {
    /// Something was written within the last second, so the peer may not have received it yet.
    pub(crate) written_lately: bool,
    /// More was written than every peer takes at once, so a slow peer may not have received it yet.
    pub(crate) maybe_untaken: bool,
    /// How long the peer may neither read nor send.
    pub(crate) quiet: Duration,
    /// When the closing must have finished.
    pub(crate) deadline: Instant,
    /// The thread serves no other clients, so a wait is no problem.
    pub(crate) may_wait: bool,
}
