//! Standard input and output on Unix.
//!
//! A read waits for the descriptor and a waker together, so a stop takes effect even while stdin is idle. A
//! write waits in short slices or at the reactor, so an abort ends it.
//!
//! Both descriptors are shared with other processes, such as the shell or the editor that has started this
//! process. Therefore `O_NONBLOCK` is never set on them. A read waits until stdin is readable and then reads
//! once, which does not block. [`Outlet`](super::stdio_outlet::Outlet) describes the writes.
//!
//! If both descriptors are one connected socket, Linux uses [`StdioSocket`] instead.

use std::fs::File;
use std::io::{self, IoSlice, IsTerminal};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;

use crate::logging::error;
use crate::reactor::{Flush, Reactor, Readiness, Waited, WAIT_SLICE};
use crate::transport::socket::retry;
use crate::transport::stdio_guard::StdioGuard;
use crate::transport::stdio_outlet::Outlet;
#[cfg(target_os = "linux")]
use crate::transport::stdio_socket::{is_one_socket, StdioSocket};
use crate::transport::{Grace, Linger, Lingered, Received, Transport};

const STDIN: Token = Token(0);
const WAKE: Token = Token(1);

/// The standard streams of this process, ready for a server.
pub(crate) struct Stdio {
    streams: Streams,
    guard: Arc<StdioGuard>,
    reactor: Arc<Reactor>,
    patient: bool,
}

enum Streams {
    /// Both are one socket.
    #[cfg(target_os = "linux")]
    Socket(File),
    Separate(Inlet, Waker, Outlet),
}

impl Stdio {
    /// Duplicates the descriptors and flushes std's stdout. With `keep`, other code may use the descriptors,
    /// too.
    pub(crate) fn open(reactor: Arc<Reactor>, keep: bool) -> io::Result<Stdio> {
        let guard = StdioGuard::new(keep)?;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Stdio::new(stdin.into(), stdout.into(), guard, reactor)
    }

    fn new(stdin: File, stdout: File, guard: Arc<StdioGuard>, reactor: Arc<Reactor>) -> io::Result<Stdio> {
        let outlet = Outlet::new(stdout)?;
        // A peer on a network is as unreliable as a client of a TCP server.
        let patient = !outlet.is_network();
        #[cfg(target_os = "linux")]
        if is_one_socket(&stdin, outlet.file())? {
            let streams = Streams::Socket(outlet.into_file());
            return Ok(Stdio { streams, guard, reactor, patient });
        }
        let (inlet, waker) = Inlet::new(stdin)?;
        Ok(Stdio { streams: Streams::Separate(inlet, waker, outlet), guard, reactor, patient })
    }

    /// Returns the guard of the descriptors.
    pub(crate) fn guard(&self) -> Arc<StdioGuard> {
        Arc::clone(&self.guard)
    }

    /// Returns `true` if the program that started this process reads the output, so that the output waits for
    /// it as long as it takes.
    pub(crate) fn is_patient(&self) -> bool {
        self.patient
    }

    /// Makes the transport. Called when the server runs.
    pub(crate) fn connect(self) -> Arc<dyn Transport> {
        let Stdio { streams, guard, reactor, patient } = self;
        match streams {
            #[cfg(target_os = "linux")]
            Streams::Socket(socket) => Arc::new(StdioSocket::new(socket.into(), guard, reactor)),
            Streams::Separate(inlet, waker, outlet) => Arc::new(StdioTransport {
                inlet: Mutex::new(inlet),
                waker,
                interrupted: AtomicBool::new(false),
                outlet: Mutex::new(Some(Arc::new(outlet))),
                readiness: Readiness::new(reactor),
                aborted: AtomicBool::new(false),
                output_ended: AtomicBool::new(false),
                patient,
                guard,
            }),
        }
    }
}

/// Standard input and output.
struct StdioTransport {
    /// Locked by the thread that reads, for as long as it waits.
    inlet: Mutex<Inlet>,
    /// Wakes the reading thread.
    waker: Waker,
    /// Set by the thread that interrupts, before it wakes the reader. Read by the reader before it waits.
    interrupted: AtomicBool,
    /// `None` after a pipe or a terminal was closed to end the output. A wait for room has its own reference. Locked
    /// while something is written, which never blocks.
    outlet: Mutex<Option<Arc<Outlet>>>,
    /// The place where writers wait for room.
    readiness: Arc<Readiness>,
    /// Set by `abort`, and read by writers.
    aborted: AtomicBool,
    /// Set by `end_output`, and read by writers.
    output_ended: AtomicBool,
    /// `true` if only an abort ends the wait of a writer.
    patient: bool,
    guard: Arc<StdioGuard>,
}

struct Inlet {
    stdin: File,
    poll: Poll,
    events: Events,
    /// `true` if std's stdin may have read something before the server ran.
    buffered: bool,
    /// `false` for a regular file or `/dev/null`, which cannot be polled and never blocks.
    pollable: bool,
    /// `true` for a terminal, which returns one line per read, even if more lines are available.
    terminal: bool,
    /// `true` if the last read may have left bytes, which the edge-triggered poll does not report again.
    more: bool,
    ready: bool,
    /// `true` if the other end is closed. The end of input follows after the remaining bytes.
    hung_up: bool,
}

impl Inlet {
    fn new(stdin: File) -> io::Result<(Inlet, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let registered =
            poll.registry().register(&mut SourceFd(&stdin.as_raw_fd()), STDIN, Interest::READABLE);
        let pollable = match registered {
            Ok(()) => true,
            // epoll_ctl(2): EPERM, «the target file fd does not support epoll».
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            // kqueue reports the same with EINVAL.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => false,
            Err(error) => return Err(error),
        };
        let terminal = stdin.is_terminal();
        let events = Events::with_capacity(4);
        let (more, ready, hung_up) = (false, false, false);
        Ok((Inlet { stdin, poll, events, buffered: true, pollable, terminal, more, ready, hung_up }, waker))
    }

    /// Waits until there is something to read, until an interrupt, or until `timeout` has passed.
    fn wait(&mut self, timeout: Option<Duration>, interrupted: &AtomicBool) -> io::Result<Waited> {
        if !self.pollable || self.ready {
            self.ready = true;
            return Ok(Waited::Ready);
        }
        if std::mem::take(&mut self.more) {
            // A new registration reports the bytes that are already there.
            let descriptor = self.stdin.as_raw_fd();
            self.poll.registry().reregister(&mut SourceFd(&descriptor), STDIN, Interest::READABLE)?;
        }
        if interrupted.load(Ordering::Acquire) {
            return Ok(Waited::Interrupted);
        }
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Waited::TimedOut),
            Err(error) => return Err(error),
        }
        for event in self.events.iter().filter(|event| event.token() == STDIN) {
            self.ready = true;
            self.hung_up |= event.is_read_closed() || event.is_error();
        }
        Ok(match (self.ready, self.events.is_empty()) {
            (true, _) => Waited::Ready,
            (false, false) => Waited::Interrupted,
            (false, true) => Waited::TimedOut,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = retry(|| read(&self.stdin, buffer));
        self.ready = false;
        let drained = matches!(result, Ok(count) if count < buffer.len());
        self.more = !drained || self.terminal || self.hung_up;
        result
    }
}

/// Makes the system call itself, like [`SocketTransport`](super::socket::SocketTransport).
fn read(stdin: &File, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(stdin, buffer)?)
}

impl StdioTransport {
    /// Calls `f` with the outlet if output may still be written. `f` must not block.
    fn with_outlet<T>(&self, f: impl FnOnce(&Arc<Outlet>) -> io::Result<T>) -> io::Result<T> {
        let ended = self.aborted.load(Ordering::Acquire) || self.output_ended.load(Ordering::Acquire);
        match &*self.outlet.lock() {
            Some(outlet) if !ended => f(outlet),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Returns the outlet if output may still be written.
    fn outlet(&self) -> io::Result<Arc<Outlet>> {
        self.with_outlet(|outlet| Ok(Arc::clone(outlet)))
    }
}

impl Transport for StdioTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let mut inlet = self.inlet.lock();
        if inlet.buffered && !self.interrupted.load(Ordering::Acquire) {
            let count = self.guard.take_buffered(buffer);
            inlet.buffered = count > 0;
            if inlet.buffered {
                return Ok(Received::Bytes(count));
            }
        }
        match inlet.wait(limit, &self.interrupted)? {
            Waited::Ready => match inlet.read(buffer) {
                Ok(0) => Ok(Received::EndOfInput),
                Ok(count) => Ok(Received::Bytes(count)),
                // Another process has read the bytes first, and the shared file description is non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::TimedOut),
                Err(error) => Err(error),
            },
            Waited::Interrupted => Ok(Received::Interrupted),
            Waited::TimedOut => Ok(Received::TimedOut),
        }
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.try_write(parts) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        if !self.outlet()?.wait(WAIT_SLICE)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // An abort or the end of output may have come in between.
        self.try_write(parts)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with_outlet(|outlet| outlet.write(parts))
    }

    /// If the descriptor cannot be watched, this returns at once, and `write` itself waits.
    fn wait_writable(&self, deadline: Instant) -> Waited {
        match self.outlet() {
            Ok(outlet) => self.readiness.wait_writable(outlet.file(), deadline),
            // The next write returns the error.
            Err(_) => Waited::Ready,
        }
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.outlet().is_ok_and(|outlet| self.readiness.flush_when_writable(outlet.file(), flush))
    }

    fn interrupt(&self, _: Grace) {
        self.interrupted.store(true, Ordering::Release);
        if !self.patient {
            self.readiness.interrupt();
        }
        if let Err(error) = self.waker.wake() {
            error!("cannot wake the reader of stdin: {error}");
        }
    }

    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.readiness.abort();
        self.interrupt(Grace::Skip);
    }

    /// Closes the descriptor, or shuts down the write side of a socket. If other code keeps the descriptor,
    /// the reader of a pipe sees the end when the process ends.
    fn end_output(&self) {
        self.output_ended.store(true, Ordering::Release);
        let outlet = {
            let mut outlet = self.outlet.lock();
            // The linger of a socket needs it later.
            if outlet.as_ref().is_some_and(|outlet| outlet.is_socket()) {
                outlet.clone()
            } else {
                outlet.take()
            }
        };
        match outlet.filter(|outlet| outlet.is_socket()) {
            Some(socket) => socket.end(),
            None => self.guard.forget_stdout(),
        }
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        let outlet = self.outlet.lock().take();
        if let Some(outlet) = outlet.filter(|outlet| outlet.is_network()) {
            outlet.linger(linger, &self.aborted);
        }
        Lingered::Finished
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::threads::MachineThreads;

    /// A transport on other files than the standard streams of the tests, without a reactor.
    fn transport(stdin: impl Into<OwnedFd>, stdout: impl Into<OwnedFd>) -> Arc<dyn Transport> {
        let threads = MachineThreads::new();
        threads.close(|| ());
        let (stdin, stdout) = (File::from(stdin.into()), File::from(stdout.into()));
        let guard = StdioGuard::new(true).unwrap();
        Stdio::new(stdin, stdout, guard, Arc::new(Reactor::new(threads))).unwrap().connect()
    }

    /// Input that stays open, and a socket that is full.
    fn full() -> (Arc<dyn Transport>, [UnixStream; 2]) {
        let ((far, stdin), (reader, stdout)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let transport = transport(stdin, stdout);
        while transport.try_write(&[IoSlice::new(&[0; 4096])]).is_ok() {}
        (transport, [far, reader])
    }

    fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn after_an_abort_a_write_fails_and_waits_for_nothing() {
        let (transport, _ends) = full();
        let parts = [IoSlice::new(b"more")];
        assert_eq!(kind(transport.write(&parts)), io::ErrorKind::WouldBlock);
        transport.abort();
        assert_eq!(kind(transport.write(&parts)), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(transport.try_write(&parts)), io::ErrorKind::BrokenPipe);
        assert_eq!(transport.wait_writable(Instant::now() + Duration::from_secs(3600)), Waited::Ready);
    }

    #[test]
    fn the_end_of_output_comes_after_the_output_and_input_goes_on() {
        let ((mut far, stdin), (reader, stdout)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let socket = transport(stdin, stdout);
        assert_eq!(socket.write(&[IoSlice::new(b"last")]).unwrap(), 4);
        socket.end_output();
        assert_eq!(io::read_to_string(reader).unwrap(), "last");
        assert_eq!(kind(socket.write(&[IoSlice::new(b"more")])), io::ErrorKind::BrokenPipe);
        far.write_all(b"input").unwrap();
        assert_eq!(socket.read(&mut [0; 8], None).unwrap(), Received::Bytes(5));
    }

    #[test]
    fn the_end_of_output_closes_a_pipe() {
        let mut cat = std::process::Command::new("cat");
        let cat = cat.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let (_far, stdin) = UnixStream::pair().unwrap();
        let pipe = transport(stdin, cat.stdin.take().unwrap());
        assert_eq!(pipe.write(&[IoSlice::new(b"last")]).unwrap(), 4);
        pipe.end_output();
        // It ends because its input has ended.
        assert_eq!(io::read_to_string(cat.stdout.take().unwrap()).unwrap(), "last");
        assert!(cat.wait().unwrap().success());
        assert_eq!(kind(pipe.write(&[IoSlice::new(b"more")])), io::ErrorKind::BrokenPipe);
    }
}
