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

    fn shut_write(&self) {
        shutdown(&self.socket, std::net::Shutdown::Write);
    }

    fn drain(&self, quiet: Duration, total: Duration) {
        let mut rest = [MaybeUninit::uninit(); 4096];
        if quiet.is_zero() {
            // What lies unread at close(2) would be answered with RST. A flood has its limit.
            for _ in 0..64 {
                let Some(flags) = flags::NON_BLOCKING else { return };
                if !matches!(retry(|| self.socket.recv_with_flags(&mut rest, flags)), Ok(1..)) {
                    return;
                }
            }
            return;
        }
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
        self.parking.kick();
    }
}

fn send(socket: &Socket, parts: &[IoSlice<'_>], flags: i32) -> io::Result<usize> {
    match parts {
        [one] => socket.send_with_flags(one, flags),
        parts => socket.send_vectored_with_flags(parts, flags),
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
