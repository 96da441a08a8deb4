//! The transport over a connected Unix socket. It shares the reader, the waits and the interrupts with
//! [`SocketTransport`]. These facts about Unix sockets make the difference:
//!
//! - Output that was written is in the queue of the peer, and nothing is in transit. It survives the close of
//!   this side. Therefore a closing connection does not wait until the peer has taken its output, and an
//!   abort cannot take it back.
//! - If a socket is closed with unread input, the peer reads all output and then gets ECONNRESET. Therefore the
//!   input is dropped before a close, so that the peer sees a clean end.
//! - After this side has shut down its read side, a write of the peer fails with EPIPE. No more input can
//!   arrive then. A read still returns the input that arrived before.
//! - A send that blocks begins its timeout again with each buffer of the kernel (`unix_stream_sendmsg` in
//!   `af_unix.c`). A peer that reads slowly could keep it blocked for any time. Therefore no send blocks, and
//!   the thread waits for room with a time limit.
//! - The kernel frees output in pieces of up to 36 kB, when the peer has read such a piece to its end. It
//!   reports room only when three quarters of the send buffer are free (`unix_writable`). Therefore a write
//!   tries to send again after each [`WAIT_SLICE`], without a report of room. While a connection is closing,
//!   this shows that a slow peer reads.

use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::Socket;

use crate::reactor::{Flush, Reactor, Waited, WAIT_SLICE};
use crate::transport::linger::DRAIN_LIMIT;
use crate::transport::socket::SocketTransport;
use crate::transport::{Descriptor, Grace, Linger, Lingered, Received, Transport};

/// A connected Unix stream socket.
pub(crate) struct UnixTransport {
    socket: Arc<SocketTransport>,
}

impl UnixTransport {
    /// Takes a connected socket. On Linux it must be blocking, and on other systems non-blocking.
    pub(crate) fn new(socket: Socket, reactor: Arc<Reactor>) -> Arc<UnixTransport> {
        Arc::new(UnixTransport { socket: SocketTransport::new(socket, reactor) })
    }
}

impl Transport for UnixTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        self.socket.read(buffer, limit)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.socket.descriptor()
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.try_write(parts) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        self.socket.wait(PollFlags::OUT, Some(WAIT_SLICE))?;
        self.try_write(parts)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(parts)
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.socket.wait_writable(deadline)
    }

    /// No grace is necessary, because nothing is in transit.
    fn interrupt(&self, _: Grace) {
        if self.socket.interrupt.set() {
            self.socket.shut_read();
        }
    }

    /// Output that was sent is not dropped, because it is in the queue of the peer.
    fn abort(&self) {
        self.socket.shut_both();
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.socket.flush_when_writable(flush)
    }

    fn report_loss(&self, client: Weak<dyn Flush>) {
        self.socket.report_loss(client);
    }

    fn end_output(&self) {
        self.socket.end_output();
    }

    /// A peer that is still sending gets the same time as over TCP, because its writes would fail otherwise.
    fn linger(&self, linger: &Linger) -> Lingered {
        if linger.written_lately {
            self.socket.end_output();
            if !linger.may_wait {
                return Lingered::Drains;
            }
            self.socket.drain(linger.quiet, linger.deadline.min(Instant::now() + DRAIN_LIMIT));
        }
        self.socket.shut_read();
        self.socket.drop_input();
        Lingered::Finished
    }
}
