//! Standard input and output that are one connected stream socket, as under inetd. This is for Linux.
//!
//! Unread input endangers the last output of such a socket, as it does for an accepted connection. Therefore
//! the transport of accepted connections carries the bytes.
//!
//! The socket belongs to this process only while the server runs. Its options that the transport changes are
//! put back in the end.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket, Type};

use crate::logging::debug;
use crate::reactor::{Flush, Reactor, Waited};
use crate::transport::socket::{set_wait_slice, SocketTransport};
use crate::transport::stdio_guard::{is_same, StdioGuard};
use crate::transport::{Grace, Linger, Lingered, Received, Transport};

/// One socket that is both standard input and standard output.
pub(crate) struct StdioSocket {
    socket: Arc<SocketTransport>,
    guard: Arc<StdioGuard>,
    /// Set by the thread that interrupts or aborts. Read by the reader before it takes buffered bytes.
    interrupted: AtomicBool,
    /// The options as they were before. `None` if the system does not tell them.
    before: Option<Options>,
}

#[derive(Clone, Copy)]
struct Options {
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// `None` for a Unix socket, which has no such option.
    nodelay: Option<bool>,
}

impl Options {
    fn of(socket: &Socket) -> io::Result<Options> {
        let (read_timeout, write_timeout) = (socket.read_timeout()?, socket.write_timeout()?);
        Ok(Options { read_timeout, write_timeout, nodelay: socket.tcp_nodelay().ok() })
    }

    fn set(self, socket: &Socket) -> io::Result<()> {
        socket.set_read_timeout(self.read_timeout)?;
        socket.set_write_timeout(self.write_timeout)?;
        self.nodelay.map_or(Ok(()), |nodelay| socket.set_tcp_nodelay(nodelay))
    }
}

/// Returns `true` if both descriptors are one connected stream socket whose system calls block.
pub(super) fn is_one_socket(stdin: &File, stdout: &File) -> io::Result<bool> {
    let (input, output) = (stdin.metadata()?, stdout.metadata()?);
    if !output.file_type().is_socket() || !is_same(&input, &output) {
        return Ok(false);
    }
    let socket = SockRef::from(stdout);
    // If another process has made the socket non-blocking, this process must not change that.
    Ok(socket.r#type()? == Type::STREAM && socket.peer_addr().is_ok() && !socket.nonblocking()?)
}

impl StdioSocket {
    /// Takes the socket and changes its options. The caller does this when the server begins to run, because
    /// until then the program may write to the socket.
    pub(super) fn new(stdout: OwnedFd, guard: Arc<StdioGuard>, reactor: Arc<Reactor>) -> StdioSocket {
        let socket = Socket::from(stdout);
        let before = Options::of(&socket);
        let changed = before.as_ref().ok().map(|before| {
            let nodelay = before.nodelay.map(|_| true);
            // The transport begins with a socket whose reads have no timeout.
            Options { read_timeout: None, write_timeout: before.write_timeout, nodelay }.set(&socket)
        });
        if let Err(error) = changed.unwrap_or(Ok(())).and_then(|()| set_wait_slice(&socket)) {
            debug!("cannot set the options of standard input and output: {error}");
        }
        let socket = SocketTransport::new(socket, reactor);
        StdioSocket { socket, guard, interrupted: AtomicBool::new(false), before: before.ok() }
    }
}

impl Transport for StdioSocket {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        if !self.interrupted.load(Ordering::Acquire) {
            let buffered = self.guard.take_buffered(buffer);
            if buffered > 0 {
                return Ok(Received::Bytes(buffered));
            }
        }
        self.socket.read(buffer, limit)
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.write(parts)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write(parts)
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        self.socket.wait_writable(deadline)
    }

    fn interrupt(&self, grace: Grace) {
        self.interrupted.store(true, Ordering::Release);
        self.socket.interrupt(grace);
    }

    fn abort(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.socket.abort();
    }

    fn end_output(&self) {
        self.socket.end_output();
    }

    fn is_taken(&self) -> bool {
        self.socket.is_taken()
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        self.socket.flush_when_writable(flush)
    }

    fn report_loss(&self, client: Weak<dyn Flush>) {
        self.socket.report_loss(client);
    }

    fn limit_quiet(&self, quiet: Duration) -> bool {
        self.socket.limit_quiet(quiet)
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        let lingered = self.socket.linger(linger);
        // An accepted connection would end when the transport is dropped. Here the process has more descriptors.
        self.socket.end_output();
        lingered
    }
}

impl Drop for StdioSocket {
    fn drop(&mut self) {
        let result = self.before.map_or(Ok(()), |before| before.set(&self.socket.socket));
        if let Err(error) = result {
            debug!("cannot put the options of standard input and output back: {error}");
        }
    }
}
