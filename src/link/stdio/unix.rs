//! Standard input and output on Unix: reads wait for the descriptor and a waker together, so that a
//! stop takes effect with stdin idle; writes never block in the system call where that can be had.
//!
//! Both descriptors are shared with other processes (the shell, the editor that started us), so
//! `O_NONBLOCK` is never set on them. Reads ask first and then read once, which can't block. For
//! writes see [`Outlet`].

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

use crate::link::parking::Parking;
use crate::link::watcher::Watcher;
use crate::link::{Flush, Link, Waited, PATIENCE};
use crate::report::report;

const STDIN: Token = Token(0);
const WAKE: Token = Token(1);

/// Standard input and output.
pub(crate) struct StdioLink {
    /// Locked by the one thread that reads, for as long as it waits.
    inlet: Mutex<Inlet>,
    /// Wakes the reading thread.
    waker: Waker,
    /// Set by whoever kicks, before it wakes; read by the reading thread before it waits.
    kicked: AtomicBool,
    outlet: Outlet,
    /// Where writing threads wait for room. Kicked by `abort` alone.
    parking: Arc<Parking>,
    /// Set by `abort`, read by writers.
    aborted: AtomicBool,
}

struct Inlet {
    stdin: File,
    poll: Poll,
    events: Events,
    /// A regular file or `/dev/null` can't be polled, and never blocks.
    pollable: bool,
    /// A terminal gives a line a read, though more may be there.
    terminal: bool,
    /// The last read may have left something, which the (edge-triggered) poll won't tell again.
    more: bool,
    ready: bool,
    /// The far end is closed: the end of input lies behind what is still there.
    hung_up: bool,
}

impl StdioLink {
    pub(crate) fn new(watcher: Arc<Watcher>) -> io::Result<StdioLink> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let registered =
            poll.registry().register(&mut SourceFd(&stdin.as_raw_fd()), STDIN, Interest::READABLE);
        let pollable = match registered {
            Ok(()) => true,
            // epoll_ctl(2): EPERM, «the target file fd does not support epoll».
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            // kqueue's word for the same.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => false,
            Err(error) => return Err(error),
        };
        let terminal = stdin.is_terminal();
        let events = Events::with_capacity(4);
        Ok(StdioLink {
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
            kicked: AtomicBool::new(false),
            outlet: Outlet::new()?,
            parking: Parking::new(watcher),
            aborted: AtomicBool::new(false),
        })
    }
}

impl Inlet {
    /// Waits until there is something to read, a kick, or the end of `timeout`.
    fn wait(&mut self, timeout: Option<Duration>, kicked: &AtomicBool) -> io::Result<Waited> {
        if !self.pollable || self.ready {
            self.ready = true;
            return Ok(Waited::Ready);
        }
        if std::mem::take(&mut self.more) {
            // Registering anew tells what is there.
            let descriptor = self.stdin.as_raw_fd();
            self.poll.registry().reregister(&mut SourceFd(&descriptor), STDIN, Interest::READABLE)?;
        }
        if kicked.load(Ordering::Acquire) {
            return Ok(Waited::Kicked);
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
            (false, false) => Waited::Kicked,
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

impl Link for StdioLink {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let mut inlet = self.inlet.lock();
        match inlet.wait(limit, &self.kicked)? {
            Waited::Ready => inlet.read(buffer),
            Waited::Kicked | Waited::TimedOut => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let patience = Instant::now() + PATIENCE;
        if !self.outlet.blocks {
            match self.try_write(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
        if self.parking.wait_writable(&self.outlet.stdout, patience) != Waited::Ready {
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

    /// `write` waits for its patience, and that is good enough for the one client of its kind.
    fn wait_writable(&self, _deadline: Instant) -> Waited {
        Waited::Ready
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.parking.flush_when_writable(&self.outlet.stdout, flush)
    }

    fn kick(&self, _notice: bool) {
        self.kicked.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            report!(Error, "cannot wake the reader of stdin: {error}");
        }
    }

    /// Nothing here destroys what was written.
    fn is_taken(&self) -> bool {
        true
    }

    /// As above.
    fn settle(&self, _deadline: Instant) -> bool {
        false
    }

    /// Stdout belongs to the process and stays open.
    fn shut_write(&self) {}

    fn drain(&self, _quiet: Duration, _total: Duration) {}

    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.parking.kick();
        self.kick(false);
    }
}

/// Standard output, and how to write to it without blocking.
///
/// - A socket takes `MSG_DONTWAIT`.
/// - A pipe or a terminal is opened anew through `/proc` on Linux, which gives a description of our
///   own for `O_NONBLOCK`. (A regular file isn't: it would start at its beginning.)
/// - A regular file never blocks.
/// - What is left blocks, and is asked first: a pipe that is writable takes `PIPE_BUF` bytes.
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

/// Elsewhere such a path is the same description again.
#[cfg(not(target_os = "linux"))]
fn reopen(_: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
