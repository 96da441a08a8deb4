//! The link over a connected stream socket: TCP now, and whatever else the kernel calls a socket.
//!
//! One descriptor a client: reads and writes share it, there is no `try_clone`. The module's notes
//! say how a read is ended from outside ([`super`], *Notice*).
//!
//! On Linux the socket blocks, and `recv` and `send` have time-outs. Elsewhere these are of no use, so
//! the socket never blocks there, and one waits for readiness first. On macOS and the BSDs the time-out
//! of `send` is for each wait within the call (`sbwait`), and begins anew with every drop that the peer
//! takes; and macOS heeds `MSG_DONTWAIT` in `recv` alone (`sosendcheck` in `uipc_socket.c`). Winsock
//! doesn't tell how much was sent before a time-out, so that what is sent again arrives twice
//! (golang/go#24727), and after one of `recv` it doesn't answer for the data either
//! ("indeterminate", say its notes on `SO_RCVTIMEO`).

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use socket2::Socket;

use super::kicks::Kicks;
use super::parking::Parking;
use super::watcher::{Overdue, Watcher};
use super::{Flush, Link, Waited, PATIENCE};
use crate::report::report;

/// Whether the socket blocks, with time-outs.
const BLOCKS: bool = cfg!(target_os = "linux");

/// How long a writer waits where readiness doesn't tell of room: the peer gets what the send buffer
/// holds that often.
const HANG_UP: Duration = Duration::from_millis(5);

/// The most that one call sends on Windows. While Winsock's buffer isn't full it takes a record of any
/// size (KB 214397), and a peer that doesn't read would cost memory without end in place of time.
const MOUTHFUL: usize = 64 * 1024;

/// A connected stream socket.
pub(crate) struct SocketLink {
    socket: Socket,
    kicks: Kicks,
    watcher: Arc<Watcher>,
    /// For the watcher, which comes back to a link that was kicked.
    me: Weak<SocketLink>,
    /// The read side was shut down, by the watcher or an abort: nothing more can be heard.
    deaf: AtomicBool,
    /// The time-out of `recv` that is in force, in microseconds; 0 is none. The reading thread's own.
    timeout: AtomicU64,
}

impl SocketLink {
    /// Takes a connected socket that was blocking when [`set_patience`] was called on it (or on its
    /// listener, where accepted sockets inherit it).
    pub(crate) fn new(socket: Socket, watcher: Arc<Watcher>) -> Arc<SocketLink> {
        Arc::new_cyclic(|me| SocketLink {
            socket,
            kicks: Kicks::default(),
            watcher,
            me: me.clone(),
            deaf: AtomicBool::new(false),
            timeout: AtomicU64::new(0),
        })
    }

    fn parking(&self) -> &Arc<Parking> {
        self.kicks.parking(&self.watcher)
    }

    /// Receives with `call` what has come, or comes within `limit`; `WouldBlock` when nothing did.
    fn receive(
        &self,
        limit: Option<Duration>,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        if BLOCKS {
            self.set_timeout(limit)?;
            return look_up(call);
        }
        // Where a wait can't be ended from outside, it looks up by itself.
        let limit =
            if cfg!(windows) { Some(limit.map_or(PATIENCE, |limit| limit.min(PATIENCE))) } else { limit };
        let seen = self.wait(PollFlags::IN, limit)?;
        match look_up(call) {
            // A reset, and no end of input: wine tells of it once.
            Ok(0) if seen.contains(PollFlags::ERR) => Err(io::ErrorKind::ConnectionReset.into()),
            result => result,
        }
    }

    /// Lets `recv` take at most `limit`. What is in force already costs no system call.
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let limit = limit.map(|limit| limit.clamp(Duration::from_millis(1), YEAR));
        let micros = limit.map_or(0, |limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        if self.timeout.load(Ordering::Relaxed) != micros {
            self.socket.set_read_timeout(limit)?;
            self.timeout.store(micros, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until the socket is ready for `what`, at most for `limit`. What it is ready for, which
    /// is nothing when the limit, or a signal, has come first.
    fn wait(&self, what: PollFlags, limit: Option<Duration>) -> rustix::io::Result<PollFlags> {
        /// Where poll(2) takes milliseconds, an `int` of them is 24 days.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let limit = limit.and_then(|limit| Timespec::try_from(limit.min(DAY)).ok());
        let mut polled = [PollFd::new(&self.socket, what)];
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) => Ok(polled[0].revents()),
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error),
        }
    }

    /// Ends the reader's wait for good.
    fn shut_read(&self) {
        self.deaf.store(true, Ordering::Release);
        shutdown(&self.socket, std::net::Shutdown::Read);
    }
}

/// Makes `send` come back after [`PATIENCE`], or at once.
pub(crate) fn set_patience(socket: &Socket) -> io::Result<()> {
    if BLOCKS {
        socket.set_write_timeout(Some(PATIENCE))
    } else {
        socket.set_nonblocking(true)
    }
}

impl Overdue for SocketLink {
    /// A peer that has not taken all yet reads slowly, and gets a longer notice.
    fn overdue(&self, reminders: u32) -> bool {
        const REMINDERS: u32 = 4;
        if !self.kicks.is_reading() {
            return true;
        }
        let over = reminders >= REMINDERS || self.is_taken();
        if over {
            self.shut_read();
        }
        over
    }
}

impl Link for SocketLink {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let result = self.kicks.unless_kicked(|| self.receive(limit, || (&self.socket).read(buffer)));
        result.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if BLOCKS {
            return look_up(|| send(&self.socket, parts, flags::NO_SIGNAL));
        }
        let seen = self.wait(PollFlags::OUT, Some(PATIENCE))?;
        let result = self.try_write(parts);
        if !seen.is_empty() && matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // Not for room: Windows tells of a peer's end again and again, whatever was asked for.
            thread::sleep(HANG_UP);
        }
        result
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| send(&self.socket, parts, flags::NON_BLOCKING))
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.parking().wait_writable(&self.socket, deadline)
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.parking().flush_when_writable(&self.socket, flush)
    }

    fn kick(&self, notice: bool) {
        // Without a watcher there is no notice.
        if self.kicks.kick() && (!notice || !self.watcher.give_notice(self.me.clone())) {
            self.shut_read();
        }
    }

    fn is_taken(&self) -> bool {
        !self.shrink_queue() || self.wait(PollFlags::OUT, Some(Duration::ZERO)) != Ok(PollFlags::empty())
    }

    fn settle(&self, deadline: Instant) -> bool {
        if self.is_taken() {
            return false;
        }
        let start = Instant::now();
        let deaf = self.deaf.load(Ordering::Acquire);
        while let Some(seen) = self.parking().settle(&self.socket, deaf, deadline) {
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
            match self.receive(Some(PATIENCE), || self.socket.recv(&mut rest)) {
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
        self.deaf.store(true, Ordering::Release);
        shutdown(&self.socket, std::net::Shutdown::Both);
        self.kicks.abort();
    }
}

impl SocketLink {
    /// Lets the room in the send queue tell what the peer has taken: with the smallest buffer that
    /// the kernel gives, there is room once no more than two or three small packets are not
    /// acknowledged. False if that can't be had.
    fn shrink_queue(&self) -> bool {
        const SMALLEST: usize = 2304; // Linux doubles it: SOCK_MIN_SNDBUF
        let shrunk = self.socket.set_send_buffer_size(SMALLEST);
        if let Err(error) = &shrunk {
            report!(Debug, "cannot tell what a peer has taken: {error}");
        }
        shrunk.is_ok()
    }

    /// Drops the input that is there, as much as a large receive buffer holds. True at its end.
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

fn send(socket: &Socket, parts: &[IoSlice<'_>], flags: i32) -> io::Result<usize> {
    /// sendmsg(2) refuses more than IOV_MAX parts, which POSIX and Linux put at 1024.
    const MOST: usize = 1024;
    if cfg!(windows) && parts.iter().map(|part| part.len()).sum::<usize>() > MOUTHFUL {
        let first = parts.iter().find(|part| !part.is_empty());
        return send_in_mouthfuls(socket, first.map_or(&[], |part| part));
    }
    match parts {
        [one] => socket.send_with_flags(one, flags),
        parts => socket.send_vectored_with_flags(&parts[..parts.len().min(MOST)], flags),
    }
}

fn send_in_mouthfuls(socket: &Socket, data: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    for mouthful in data.chunks(MOUTHFUL) {
        match socket.send(mouthful) {
            Ok(count) => sent += count,
            // The next call tells of it again.
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
        if sent % MOUTHFUL > 0 {
            break;
        }
    }
    Ok(sent)
}

fn shutdown(socket: &Socket, how: std::net::Shutdown) {
    if let Err(error) = socket.shutdown(how) {
        // The peer's reset has come first.
        if error.kind() != io::ErrorKind::NotConnected {
            report!(Debug, "cannot shut down a connection: {error}");
        }
    }
}

/// A call that waits, and that a signal interrupted, has found nothing so far. It is not repeated
/// here: it would begin its time-out anew, and signals that follow each other closely (a profiler's
/// timer) would keep it for ever from being over.
fn look_up(call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    match call() {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(io::ErrorKind::WouldBlock.into()),
        result => result,
    }
}

/// Repeats a call that doesn't wait, and that a signal interrupted all the same.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The flags of `send(2)` and `recv(2)`. `MSG_NOSIGNAL`: a host program with SIGPIPE at its default
/// must survive a peer that went away; Apple's sockets have an option for it instead, which
/// `socket2` sets.
mod flags {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    pub(super) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    pub(super) const NO_SIGNAL: i32 = 0;

    #[cfg(unix)]
    pub(super) const NON_BLOCKING: i32 = NO_SIGNAL | libc::MSG_DONTWAIT;
    /// Windows knows no such flag, nor does it need one.
    #[cfg(not(unix))]
    pub(super) const NON_BLOCKING: i32 = NO_SIGNAL;
}
