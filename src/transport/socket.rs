//! The transport over a connected stream socket: reads, writes, and how other threads interrupt them. How a
//! connection ends is in [`linger`](super::linger).
//!
//! A client has one descriptor, which reads and writes share without `try_clone`. The parent module describes
//! how another thread ends a read ([`super`], *Read grace*).
//!
//! On Linux the socket is blocking, and `recv` and `send` have timeouts. On other systems these timeouts are
//! unusable. There the socket is non-blocking, and a thread waits for readiness first. The reasons are:
//!
//! - On macOS and the BSDs the timeout of `send` holds for each wait within the call (`sbwait`), and
//!   starts again with every byte that the peer takes. macOS also honours `MSG_DONTWAIT` only in `recv`
//!   (`sosendcheck` in `uipc_socket.c`).
//! - Winsock does not report how much was sent before a timeout, so data that is sent again would arrive
//!   twice (golang/go#24727). A timeout of `recv` may also lose data: the documentation of `SO_RCVTIMEO`
//!   calls the state of the socket "indeterminate".

use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use socket2::Socket;

use crate::logging::debug;
use crate::reactor::{Flush, Reactor, Readiness, Waited, READ_GRACE, WAIT_SLICE};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::transport::interrupt::Interrupt;
use crate::transport::{Grace, Linger, Lingered, Received, Transport};

/// Whether the socket is blocking and has timeouts.
const BLOCKS: bool = cfg!(target_os = "linux");

/// How long a writer pauses if the system reports that the socket is writable but there is no room. During
/// each pause, the peer can take the content of the send buffer.
const HANGUP_PAUSE: Duration = Duration::from_millis(5);

/// The largest number of bytes that one call sends on Windows. While its buffer is not full, Winsock accepts
/// data of any size (KB 214397), so a peer that does not read could cause unlimited memory use.
const MAX_SEND: usize = 64 * 1024;

/// A connected stream socket.
pub(crate) struct SocketTransport {
    pub(super) socket: Socket,
    pub(super) interrupt: Interrupt,
    reactor: Arc<Reactor>,
    /// This transport itself, for the reactor, which calls it when a read grace has passed.
    me: Weak<SocketTransport>,
    /// `true` if this side has shut down the read side. Set by the reactor, by `interrupt` or by `abort`
    /// before they shut it down. Read by the thread that reads.
    pub(super) read_shut: AtomicBool,
    /// The current timeout of `recv` in microseconds, or 0 for no timeout. Used only by the thread that
    /// reads.
    timeout: AtomicU64,
}

impl SocketTransport {
    /// Takes a connected socket on which [`set_wait_slice`] was called. On Linux the call may also have
    /// been made on its listener, because an accepted socket inherits the setting there.
    pub(crate) fn new(socket: Socket, reactor: Arc<Reactor>) -> Arc<SocketTransport> {
        Arc::new_cyclic(|me| SocketTransport {
            socket,
            interrupt: Interrupt::default(),
            reactor,
            me: me.clone(),
            read_shut: AtomicBool::new(false),
            timeout: AtomicU64::new(0),
        })
    }

    pub(super) fn readiness(&self) -> &Arc<Readiness> {
        self.interrupt.readiness(&self.reactor)
    }

    /// Receives with `call`, which waits for at most `limit`. Fails with `WouldBlock` if nothing came.
    pub(super) fn receive(
        &self,
        limit: Option<Duration>,
        call: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        if BLOCKS {
            self.set_timeout(limit)?;
            return once(call);
        }
        // On Windows no other thread can end this wait, so it is limited to a short time.
        let limit =
            if cfg!(windows) { Some(limit.map_or(WAIT_SLICE, |limit| limit.min(WAIT_SLICE))) } else { limit };
        let seen = self.wait(PollFlags::IN, limit)?;
        match once(call) {
            // This is a reset and not the end of input. Wine reports it only once.
            Ok(0) if seen.contains(PollFlags::ERR) => Err(io::ErrorKind::ConnectionReset.into()),
            result => result,
        }
    }

    /// Limits `recv` to `limit`. Makes no system call if this limit is already set.
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

    /// Waits until the socket is ready for `events`, but for at most `limit`, and returns its readiness. The
    /// result is empty if the limit has passed or if a signal came first.
    pub(super) fn wait(&self, events: PollFlags, limit: Option<Duration>) -> rustix::io::Result<PollFlags> {
        /// Some systems take the limit of poll(2) as an `int` of milliseconds, so the maximum is 24 days.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let limit = limit.and_then(|limit| Timespec::try_from(limit.min(DAY)).ok());
        let mut polled = [PollFd::new(&self.socket, events)];
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) => Ok(polled[0].revents()),
            Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error),
        }
    }

    /// Ends the wait of the reader and all its later waits.
    pub(super) fn shut_read(&self) {
        self.read_shut.store(true, Ordering::Release);
        shutdown(&self.socket, std::net::Shutdown::Read);
    }

    /// Shuts down both sides and ends every wait.
    pub(super) fn shut_both(&self) {
        self.read_shut.store(true, Ordering::Release);
        shutdown(&self.socket, std::net::Shutdown::Both);
        self.interrupt.set_aborted();
    }
}

/// Makes `send` return after [`WAIT_SLICE`], or at once on systems with non-blocking sockets.
pub(crate) fn set_wait_slice(socket: &Socket) -> io::Result<()> {
    if BLOCKS {
        socket.set_write_timeout(Some(WAIT_SLICE))
    } else {
        socket.set_nonblocking(true)
    }
}

impl Transport for SocketTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let result = if limit == Some(Duration::ZERO) {
            // Nobody needs to interrupt a read that does not wait.
            Some(retry(|| recv(&self.socket, buffer, false)))
        } else {
            self.interrupt.unless_interrupted(|| self.receive(limit, || recv(&self.socket, buffer, true)))
        };
        match result {
            None => Ok(Received::Interrupted),
            Some(Ok(0)) if self.read_shut.load(Ordering::Acquire) => Ok(Received::Interrupted),
            Some(Ok(0)) => Ok(Received::EndOfInput),
            Some(Ok(count)) => Ok(Received::Bytes(count)),
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::TimedOut),
            Some(Err(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn descriptor(&self) -> Option<crate::transport::Descriptor> {
        Some(std::os::fd::AsRawFd::as_raw_fd(&self.socket))
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if BLOCKS {
            return once(|| send(&self.socket, parts, flags::NO_SIGNAL));
        }
        let seen = self.wait(PollFlags::OUT, Some(WAIT_SLICE))?;
        let result = self.try_write(parts);
        if !seen.is_empty() && matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // This readiness does not mean room, because Windows reports the end of a peer again and again.
            thread::sleep(HANGUP_PAUSE);
        }
        result
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| send(&self.socket, parts, flags::NON_BLOCKING))
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.readiness().wait_writable(&self.socket, deadline)
    }

    fn interrupt(&self, grace: Grace) {
        if !self.interrupt.set() {
            return;
        }
        // Without a reactor there is no grace.
        if grace == Grace::Skip || !self.reactor.start_timer(self.me.clone(), READ_GRACE) {
            self.shut_read();
        }
    }

    fn abort(&self) {
        // With a linger time of zero, closing the socket drops the output in the kernel and sends RST.
        if let Err(error) = self.socket.set_linger(Some(Duration::ZERO)) {
            debug!("cannot drop the pending output of a connection: {error}");
        }
        self.shut_both();
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.readiness().flush_when_writable(&self.socket, flush)
    }

    fn report_loss(&self, client: Weak<dyn Flush>) {
        self.readiness().report_loss(&self.socket, client);
    }

    fn end_output(&self) {
        shutdown(&self.socket, std::net::Shutdown::Write);
    }

    fn is_taken(&self) -> bool {
        self.is_nearly_taken()
    }

    fn limit_quiet(&self, quiet: Duration) -> bool {
        self.set_user_timeout(quiet)
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        self.deliver_and_end(linger)
    }
}

impl Drop for SocketTransport {
    fn drop(&mut self) {
        if let Some(readiness) = self.interrupt.existing_readiness() {
            readiness.unwatch(&self.socket);
        }
    }
}

/// Receives with the system call itself. The function of the C library first asks whether its thread was cancelled,
/// which threads of Rust never are. That takes a tenth of the instructions of a message.
#[cfg(unix)]
fn recv(socket: &Socket, buffer: &mut [u8], waits: bool) -> io::Result<usize> {
    let flags = if waits { rustix::net::RecvFlags::empty() } else { rustix::net::RecvFlags::DONTWAIT };
    let (count, _) = rustix::net::recv(socket, buffer, flags)?;
    Ok(count)
}

/// The socket is non-blocking there.
#[cfg(not(unix))]
fn recv(mut socket: &Socket, buffer: &mut [u8], _: bool) -> io::Result<usize> {
    io::Read::read(&mut socket, buffer)
}

/// Sends with the system call itself, like `recv`.
#[cfg(unix)]
fn send_one(socket: &Socket, part: &[u8], flags: i32) -> io::Result<usize> {
    #[expect(clippy::cast_sign_loss, reason = "these are bits")]
    let flags = rustix::net::SendFlags::from_bits_retain(flags as u32);
    Ok(rustix::net::send(socket, part, flags)?)
}

#[cfg(not(unix))]
fn send_one(socket: &Socket, part: &[u8], flags: i32) -> io::Result<usize> {
    socket.send_with_flags(part, flags)
}

fn send(socket: &Socket, parts: &[IoSlice<'_>], flags: i32) -> io::Result<usize> {
    /// sendmsg(2) refuses more than IOV_MAX parts, which POSIX and Linux set to 1024.
    const MOST: usize = 1024;
    if cfg!(windows) && parts.iter().map(|part| part.len()).sum::<usize>() > MAX_SEND {
        let first = parts.iter().find(|part| !part.is_empty());
        return send_in_pieces(socket, first.map_or(&[], |part| part));
    }
    match parts {
        [one] => send_one(socket, one, flags),
        parts => socket.send_vectored_with_flags(&parts[..parts.len().min(MOST)], flags),
    }
}

fn send_in_pieces(socket: &Socket, data: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    for piece in data.chunks(MAX_SEND) {
        match socket.send(piece) {
            Ok(count) => sent += count,
            // The next call will return this error again.
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
        if sent % MAX_SEND > 0 {
            break;
        }
    }
    Ok(sent)
}

pub(super) fn shutdown(socket: &Socket, how: std::net::Shutdown) {
    if let Err(error) = socket.shutdown(how) {
        // After a reset from the peer, the socket is no longer connected.
        if error.kind() != io::ErrorKind::NotConnected {
            debug!("cannot shut down a connection: {error}");
        }
    }
}

/// Makes a call that waits, only once. If a signal interrupts the call, this returns `WouldBlock`.
///
/// The call is not repeated here, because its timeout would start again. Frequent signals, such as the
/// signals of a profiler, could then prevent the wait from ever ending.
fn once(call: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    match call() {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(io::ErrorKind::WouldBlock.into()),
        result => result,
    }
}

/// Repeats a call that does not wait, until no signal interrupts it.
pub(super) fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The flags of `send(2)` and `recv(2)`.
///
/// `MSG_NOSIGNAL` is set because a peer that has disconnected must not end a program that has the default
/// action of SIGPIPE. On Apple's systems, `socket2` sets a socket option for this instead.
pub(super) mod flags {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    pub(super) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    pub(super) const NO_SIGNAL: i32 = 0;

    #[cfg(unix)]
    pub(in crate::transport) const NON_BLOCKING: i32 = NO_SIGNAL | libc::MSG_DONTWAIT;
    /// Windows has no such flag and needs none, because the socket is non-blocking there.
    #[cfg(not(unix))]
    pub(in crate::transport) const NON_BLOCKING: i32 = NO_SIGNAL;
}

#[cfg(all(test, target_os = "linux", not(shuttle)))]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::linux::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::threads::MachineThreads;

    struct Nothing;

    impl Flush for Nothing {
        fn flush(&self) {}
        fn check_progress(&self) -> Option<Duration> {
            None
        }
        fn lost(&self) {}
    }

    /// Whether an epoll of this process watches the socket with that inode (`proc_pid_fdinfo(5)`).
    fn is_watched(inode: u64) -> bool {
        let inode = format!("ino:{inode:x} ");
        let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
        let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .any(|line| line.starts_with("tfd:") && line.contains(&inode))
    }

    /// Otherwise the kernel may keep the connection open after the close.
    #[test]
    fn a_descriptor_is_not_watched_any_more_when_it_is_closed() {
        let threads = MachineThreads::new();
        let reactor = Arc::new(Reactor::new(Arc::clone(&threads)));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // The kernel ends the watch of a file by itself when its last descriptor is closed.
        let other = fs::File::from(OwnedFd::from(ours.try_clone().unwrap()));
        let inode = other.metadata().unwrap().st_ino();
        let transport = SocketTransport::new(ours.into(), Arc::clone(&reactor));
        let client: Arc<dyn Flush> = Arc::new(Nothing);
        assert!(transport.flush_when_writable(Arc::downgrade(&client)));
        assert!(is_watched(inode));
        drop(transport);
        assert!(!is_watched(inode));
        threads.close(|| ());
        reactor.stop();
    }
}
