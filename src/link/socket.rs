//! The link over a connected stream socket: TCP now, and whatever else the kernel calls a socket.
//!
//! One descriptor a client: reads and writes share it, there is no `try_clone`. The read side is
//! never shut down while the connection may still deliver (see [`Link`]'s notes on patience).

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::parking::{Parking, Side};
use super::watcher::Watcher;
use super::{Flush, Link, Waited, PATIENCE};
use crate::report::report;

/// A connected stream socket.
pub(crate) struct SocketLink {
    socket: Socket,
    parking: Arc<Parking>,
}

impl SocketLink {
    /// Takes a connected, blocking socket on which [`set_patience`] was called (or on its listener,
    /// where accepted sockets inherit it).
    pub(crate) fn new(socket: Socket, watcher: Arc<Watcher>) -> SocketLink {
        SocketLink { socket, parking: Parking::new(watcher) }
    }
}

/// Makes `recv` and `send` come back after [`PATIENCE`].
pub(crate) fn set_patience(socket: &Socket) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

impl Link for SocketLink {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| (&self.socket).read(buffer))
    }

    fn wait_readable(&self, deadline: Option<Instant>) -> Waited {
        self.parking.wait(&self.socket, Side::Read, deadline)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| send(&self.socket, parts, flags::BLOCKING))
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match flags::NON_BLOCKING {
            Some(flags) => retry(|| send(&self.socket, parts, flags)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.parking.wait(&self.socket, Side::Write, Some(deadline))
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.parking.flush_when_writable(&self.socket, flush)
    }

    fn kick(&self) {
        self.parking.kick();
    }

    /// By the room in the send queue: with the smallest buffer that the kernel gives, it has room
    /// once no more than two or three small packets are not acknowledged.
    fn settle(&self, deadline: Instant) -> bool {
        const SMALLEST: usize = 2304; // Linux doubles it: SOCK_MIN_SNDBUF
        if let Err(error) = self.socket.set_send_buffer_size(SMALLEST) {
            report!(Debug, "cannot tell what a peer has taken: {error}");
            return false;
        }
        let start = Instant::now();
        while let Some(seen) = self.parking.settle(&self.socket, deadline) {
            if seen.writable {
                break;
            }
            if seen.readable && self.drop_input() {
                // The peer has ended its side: nothing can come that would be answered with RST.
                break;
            }
        }
        start.elapsed() >= PATIENCE
    }

    fn shut_write(&self) {
        shutdown(&self.socket, std::net::Shutdown::Write);
    }

    fn drain(&self, quiet: Duration, total: Duration) {
        if quiet.is_zero() {
            // What lies unread at close(2) would be answered with RST.
            self.drop_input();
            return;
        }
        let mut rest = [MaybeUninit::uninit(); 4096];
        let start = Instant::now();
        let mut heard = start;
        while start.elapsed() < total && heard.elapsed() < quiet {
            match retry(|| self.socket.recv(&mut rest)) {
                Ok(0) => return,
                Ok(_) => heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    fn abort(&self) {
        // Linger zero makes the close that follows drop what the kernel still holds, with RST.
        if let Err(error) = self.socket.set_linger(Some(Duration::ZERO)) {
            report!(Debug, "cannot drop a connection's pending output: {error}");
        }
        shutdown(&self.socket, std::net::Shutdown::Both);
        self.parking.abort();
    }
}

impl SocketLink {
    /// Drops the input that is there, as much as a large receive buffer holds. True at its end.
    fn drop_input(&self) -> bool {
        let Some(flags) = flags::NON_BLOCKING else { return false };
        let mut rest = [MaybeUninit::uninit(); 4096];
        for _ in 0..2_000 {
            match retry(|| self.socket.recv_with_flags(&mut rest, flags)) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }
}

fn send(socket: &Socket, parts: &[IoSlice<'_>], flags: i32) -> io::Result<usize> {
    /// sendmsg(2) refuses more than IOV_MAX parts, which POSIX and Linux put at 1024.
    const MOST: usize = 1024;
    match parts {
        [one] => socket.send_with_flags(one, flags),
        parts => socket.send_vectored_with_flags(&parts[..parts.len().min(MOST)], flags),
    }
}

fn shutdown(socket: &Socket, how: std::net::Shutdown) {
    if let Err(error) = socket.shutdown(how) {
        // The peer's reset has come first.
        if error.kind() != io::ErrorKind::NotConnected {
            report!(Debug, "cannot shut down a connection: {error}");
        }
    }
}

/// Repeats a call that a signal interrupted, and gives a time-out the kind that it has on Unix.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // On Unix, TimedOut is the end of a connection that the network lost.
            Err(error) if cfg!(windows) && error.kind() == io::ErrorKind::TimedOut => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            result => return result,
        }
    }
}

/// The flags of `send(2)` and `recv(2)`. `MSG_NOSIGNAL`: a host program with SIGPIPE at its default
/// must survive a peer that went away; Apple's sockets have an option for it instead, which
/// `socket2` sets.
mod flags {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    const NO_SIGNAL: i32 = 0;

    pub(super) const BLOCKING: i32 = NO_SIGNAL;
    #[cfg(unix)]
    pub(super) const NON_BLOCKING: Option<i32> = Some(NO_SIGNAL | libc::MSG_DONTWAIT);
    /// Windows knows no such flag.
    #[cfg(not(unix))]
    pub(super) const NON_BLOCKING: Option<i32> = None;
}
