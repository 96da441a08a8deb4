//! Standard input and output on Unix.
//!
//! A read waits for the descriptor and a waker together, so a stop takes effect even while stdin is idle. A
//! write avoids blocking in the system call if possible.
//!
//! Both descriptors are shared with other processes, such as the shell or the editor that has started this
//! process. Therefore `O_NONBLOCK` is never set on them. A read waits until stdin is readable and then reads
//! once, which does not block. [`Outlet`] describes the writes.

use std::fs::File;
use std::io::{self, IoSlice, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use socket2::SockRef;

use crate::logging::error;
use crate::reactor::{Flush, Reactor, Readiness, Waited, WAIT_SLICE};
use crate::transport::{Grace, Received, Transport};

const STDIN: Token = Token(0);
const WAKE: Token = Token(1);

/// Standard input and output.
pub(crate) struct StdioTransport {
    /// Locked by the thread that reads, for as long as it waits.
    inlet: Mutex<Inlet>,
    /// Wakes the reading thread.
    waker: Waker,
    /// Set by the thread that interrupts, before it wakes the reader. Read by the reader before it waits.
    interrupted: AtomicBool,
    outlet: Outlet,
    /// The place where writers wait for room. Only `abort` interrupts them.
    readiness: Arc<Readiness>,
    /// Set by `abort`, and read by writers.
    aborted: AtomicBool,
}

struct Inlet {
    stdin: File,
    poll: Poll,
    events: Events,
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

impl StdioTransport {
    pub(crate) fn new(reactor: Arc<Reactor>) -> io::Result<StdioTransport> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
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
        Ok(StdioTransport {
            inlet: Mutex::new(Inlet {
                stdin,
                poll,
                events,
                pollable,
                terminal,
                more: false,
                ready: false,
                hung_up: false,
            }),
            waker,
            interrupted: AtomicBool::new(false),
            outlet: Outlet::new()?,
            readiness: Readiness::new(reactor),
            aborted: AtomicBool::new(false),
        })
    }
}

impl Inlet {
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
        loop {
            match self.stdin.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.ready = false;
                    let drained = matches!(result, Ok(count) if count < buffer.len());
                    self.more = !drained || self.terminal || self.hung_up;
                    return result;
                }
            }
        }
    }
}

impl Transport for StdioTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let mut inlet = self.inlet.lock();
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
        let end = Instant::now() + WAIT_SLICE;
        if !self.outlet.blocks {
            match self.try_write(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
        if self.readiness.wait_writable(&self.outlet.stdout, end) != Waited::Ready {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outlet.write(parts)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.aborted.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.outlet.blocks {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outlet.write(parts)
    }

    /// Returns at once, because `write` itself waits. This is good enough for a single client.
    fn wait_writable(&self, _deadline: Instant) -> Waited {
        Waited::Ready
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.readiness.flush_when_writable(&self.outlet.stdout, flush)
    }

    fn interrupt(&self, _: Grace) {
        self.interrupted.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            error!("cannot wake the reader of stdin: {error}");
        }
    }

    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.readiness.interrupt();
        self.interrupt(Grace::Skip);
    }
}

/// Standard output, and how to write to it without blocking.
///
/// - A socket takes `MSG_DONTWAIT`.
/// - A pipe or a terminal is opened again through `/proc` on Linux. This creates a separate file description,
///   on which `O_NONBLOCK` can be set.
/// - A regular file never blocks. It is not opened again, because the new file description would start at the
///   beginning of the file.
/// - Every other descriptor blocks. A write first waits until it is writable. A writable pipe takes
///   `PIPE_BUF` bytes without blocking.
struct Outlet {
    stdout: File,
    socket: bool,
    blocks: bool,
}

impl Outlet {
    fn new() -> io::Result<Outlet> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let kind = stdout.metadata()?.file_type();
        if kind.is_file() || kind.is_socket() {
            return Ok(Outlet { stdout, socket: kind.is_socket(), blocks: false });
        }
        Ok(match reopen(&stdout) {
            Ok(stdout) => Outlet { stdout, socket: false, blocks: false },
            Err(_) => Outlet { stdout, socket: false, blocks: true },
        })
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let result = if self.socket {
                let flags = libc::MSG_DONTWAIT | NO_SIGNAL;
                SockRef::from(&self.stdout).send_vectored_with_flags(&parts[..parts.len().min(1024)], flags)
            } else if self.blocks {
                let first = parts.iter().find(|part| !part.is_empty());
                let first = first.map_or(&[][..], |part| &part[..part.len().min(libc::PIPE_BUF)]);
                (&self.stdout).write(first)
            } else if let [one] = parts {
                (&self.stdout).write(one)
            } else {
                (&self.stdout).write_vectored(parts)
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;

#[cfg(target_os = "linux")]
fn reopen(stdout: &File) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stdout.as_raw_fd()))
}

/// On other systems, opening such a path returns the same file description.
#[cfg(not(target_os = "linux"))]
fn reopen(_: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
