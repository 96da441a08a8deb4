//! How the last output of a connection over a socket is delivered.
//!
//! If a socket is closed while it has unread input, the kernel sends RST, and RST destroys output that is
//! still in transit. Therefore the socket is not closed until the peer has taken the output, as far as this
//! side can tell. Input that arrives until then is read and dropped.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::logging::debug;
use crate::reactor::{Source, WAIT_SLICE};
use crate::sync::atomic::Ordering;
use crate::transport::socket::{flags, retry, shutdown, SocketTransport};
use crate::transport::Linger;

impl SocketTransport {
    /// Delivers the output, sends the end of output, and drops later input.
    pub(super) fn deliver_and_end(&self, linger: &Linger) {
        let slow = linger.maybe_untaken && self.await_taken(linger.deadline);
        if linger.written_lately || slow {
            shutdown(&self.socket, std::net::Shutdown::Write);
            self.drain(linger.quiet, linger.deadline);
        } else {
            // With unread input, close(2) would send RST.
            self.drop_input();
        }
    }

    /// Returns `true` if the peer has taken nearly all output, or if this side cannot tell.
    pub(super) fn is_taken(&self) -> bool {
        !self.shrink_queue() || self.wait(PollFlags::OUT, Some(Duration::ZERO)) != Ok(PollFlags::empty())
    }

    /// Waits until the peer has taken nearly all output, and drops the input that arrives until then. Returns
    /// `true` if this took a while, which means that the peer reads slowly.
    fn await_taken(&self, deadline: Instant) -> bool {
        if self.is_taken() {
            return false;
        }
        let start = Instant::now();
        let read_shut = self.read_shut.load(Ordering::Acquire);
        while let Some(seen) = self.readiness().wait_taken(&self.socket, read_shut, deadline) {
            if seen.writable {
                break;
            }
            if seen.readable && self.drop_input() {
                // The peer has ended its output, so no input can arrive that would cause RST.
                break;
            }
        }
        start.elapsed() >= WAIT_SLICE
    }

    /// Shrinks the send buffer to the smallest size that the kernel allows. After that, the socket becomes
    /// writable only when at most two or three small packets are unacknowledged. Returns `false` if the
    /// buffer cannot be shrunk.
    fn shrink_queue(&self) -> bool {
        const SMALLEST: usize = 2304; // Linux doubles it: SOCK_MIN_SNDBUF
        let shrunk = self.socket.set_send_buffer_size(SMALLEST);
        if let Err(error) = &shrunk {
            debug!("cannot find out how much output a peer has taken: {error}");
        }
        shrunk.is_ok()
    }

    /// Reads and drops input until the peer ends its output, until the peer is silent for `quiet`, or until
    /// the deadline.
    fn drain(&self, quiet: Duration, deadline: Instant) {
        let mut rest = [MaybeUninit::uninit(); 4096];
        let mut heard = Instant::now();
        while Instant::now() < deadline && heard.elapsed() < quiet {
            match self.receive(Some(WAIT_SLICE), || self.socket.recv(&mut rest)) {
                Ok(0) => return,
                Ok(_) => heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Drops the input that has arrived, up to the size of a large receive buffer. Returns `true` if this was
    /// the end of the input.
    fn drop_input(&self) -> bool {
        let mut rest = [MaybeUninit::uninit(); 4096];
        for _ in 0..2_000 {
            match retry(|| self.socket.recv_with_flags(&mut rest, flags::NON_BLOCKING)) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }
}

impl Source for SocketTransport {
    /// Shuts down the read side if a reader still waits. If the peer has not taken all output yet, it reads
    /// slowly, and the grace is extended.
    fn grace_is_over(&self, reminders: u32) -> bool {
        const REMINDERS: u32 = 4;
        if !self.interrupt.is_reading() {
            return true;
        }
        let over = reminders >= REMINDERS || self.is_taken();
        if over {
            self.shut_read();
        }
        over
    }
}
