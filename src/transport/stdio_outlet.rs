//! Standard output, and how to write to it without blocking.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use socket2::SockRef;

use crate::logging::debug;
use crate::reactor::WAIT_SLICE;
use crate::transport::socket::{flags, retry};
use crate::transport::Linger;

/// Standard output.
///
/// - A socket takes `MSG_DONTWAIT`, except on Apple's systems (`sosendcheck` in `uipc_socket.c`).
/// - A pipe or a terminal is opened again through `/proc` on Linux. This creates a separate file description,
///   on which `O_NONBLOCK` can be set.
/// - A regular file never blocks. It is not opened again, because the new file description would start at the
///   beginning of the file.
/// - Every other descriptor blocks. A write is made only if the descriptor is writable. A writable pipe takes
///   `PIPE_BUF` bytes without blocking.
pub(super) struct Outlet {
    stdout: File,
    socket: bool,
    blocks: bool,
}

impl Outlet {
    /// Takes a duplicate of the descriptor, which is closed if it can be opened again.
    pub(super) fn new(stdout: File) -> io::Result<Outlet> {
        let kind = stdout.metadata()?.file_type();
        if kind.is_socket() {
            return Ok(Outlet { stdout, socket: true, blocks: cfg!(target_vendor = "apple") });
        }
        if kind.is_file() {
            return Ok(Outlet { stdout, socket: false, blocks: false });
        }
        Ok(match reopen(&stdout) {
            Ok(stdout) => Outlet { stdout, socket: false, blocks: false },
            Err(_) => Outlet { stdout, socket: false, blocks: true },
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.stdout
    }

    #[cfg(target_os = "linux")]
    pub(super) fn into_file(self) -> File {
        self.stdout
    }

    /// Returns `true` if the reader is connected over a network protocol. Unread input then endangers the
    /// last output.
    pub(super) fn is_network(&self) -> bool {
        let address = || SockRef::from(&self.stdout).local_addr();
        self.socket && address().is_ok_and(|address| address.is_ipv4() || address.is_ipv6())
    }

    /// Writes as much as there is room for. Never blocks.
    pub(super) fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.blocks {
            if !self.wait(Duration::ZERO)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let first = parts.iter().find(|part| !part.is_empty());
            let first = first.map_or(&[][..], |part| &part[..part.len().min(libc::PIPE_BUF)]);
            return retry(|| (&self.stdout).write(first));
        }
        retry(|| match parts {
            parts if self.socket => SockRef::from(&self.stdout)
                .send_vectored_with_flags(&parts[..parts.len().min(1024)], flags::NON_BLOCKING),
            [one] => Ok(rustix::io::write(&self.stdout, one)?),
            parts => (&self.stdout).write_vectored(parts),
        })
    }

    /// Waits for room to write, for at most `limit`. Returns `true` if there may be room, or if the next
    /// write will fail.
    pub(super) fn wait(&self, limit: Duration) -> io::Result<bool> {
        self.poll(PollFlags::OUT, limit)
    }

    /// Returns `true` if the output can be ended without closing the descriptor.
    pub(super) fn is_socket(&self) -> bool {
        self.socket
    }

    /// Sends the end of output over a socket.
    pub(super) fn end(&self) {
        if let Err(error) = SockRef::from(&self.stdout).shutdown(std::net::Shutdown::Write) {
            debug!("cannot end standard output: {error}");
        }
    }

    /// Sends the end of output, and drops the data that the peer still sends, within the limits of the linger
    /// and until an abort. With unread input, close(2) would send RST, which destroys output in transit.
    pub(super) fn linger(&self, linger: &Linger, aborted: &AtomicBool) {
        self.end();
        let may_wait = linger.written_lately || linger.maybe_untaken;
        let mut rest = [MaybeUninit::uninit(); 4096];
        let mut heard = Instant::now();
        loop {
            match SockRef::from(&self.stdout).recv_with_flags(&mut rest, flags::NON_BLOCKING) {
                Ok(0) => return,
                Ok(_) => heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock || !may_wait => return,
                Err(_) => {
                    if self.poll(PollFlags::IN, WAIT_SLICE).is_err() {
                        return;
                    }
                }
            }
            let now = Instant::now();
            if aborted.load(Ordering::Acquire) || now >= linger.deadline || now - heard >= linger.quiet {
                return;
            }
        }
    }

    fn poll(&self, events: PollFlags, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut polled = [PollFd::new(&self.stdout, events)];
        match poll(&mut polled, Some(&limit)) {
            Ok(_) => Ok(!polled[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn reopen(stdout: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd;
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    /// Another user's pipe cannot be opened again, for example.
    #[test]
    fn a_pipe_that_cannot_be_opened_again_is_filled_without_blocking_and_then_drained() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = File::from(std::os::fd::OwnedFd::from(cat.stdin.take().unwrap()));
        let outlet = Outlet { stdout: stdin, socket: false, blocks: true };
        let mut written = 0;
        // `cat` itself blocks when its output is full, because nobody reads it yet.
        loop {
            match outlet.write(&[IoSlice::new(&[b'x'; 100_000])]) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    if !outlet.wait(WAIT_SLICE).unwrap() {
                        break;
                    }
                }
            }
        }
        drop(outlet);
        let mut read = Vec::new();
        cat.stdout.take().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), written);
        assert!(cat.wait().unwrap().success());
    }
}
