//! A listening socket. A thread can wait for connections on it, and the wait can be interrupted.
//!
//! On Linux the thread blocks in `accept4` itself, so a connection costs one system call. Shutting down the
//! socket ends the wait, because `accept(2)` then fails with EINVAL. It also makes the kernel refuse new
//! connections at once.
//!
//! A socket that another process may share must not be shut down, because the other process could then no
//! longer accept. On other systems, shutting down the socket does not wake the thread. In both cases the
//! thread waits for the socket and a waker together.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Instant;

use mio::{Events, Interest, Poll, Token, Waker};
#[cfg(target_os = "linux")]
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use socket2::{SockAddr, Socket};

use crate::logging::error;
use crate::server::listener::Refuse;

/// A listening socket.
pub(crate) enum ListenSocket {
    #[cfg(target_os = "linux")]
    Blocking(Arc<Socket>),
    Polled(Polled),
}

pub(crate) struct Polled {
    socket: platform::PolledListener,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl ListenSocket {
    /// Takes a socket that only this process has.
    pub(crate) fn own(socket: Socket) -> io::Result<ListenSocket> {
        #[cfg(target_os = "linux")]
        return Ok(ListenSocket::Blocking(Arc::new(socket)));
        #[cfg(not(target_os = "linux"))]
        ListenSocket::shared(socket)
    }

    /// Takes a socket that another process may share.
    pub(crate) fn shared(socket: Socket) -> io::Result<ListenSocket> {
        socket.set_nonblocking(true)?;
        let mut socket = platform::PolledListener::new(socket);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(1))?);
        socket.source(|source| poll.registry().register(source, Token(0), Interest::READABLE))?;
        Ok(ListenSocket::Polled(Polled { socket, poll, events: Events::with_capacity(4), waker }))
    }

    /// Returns a function that ends the running call of `accept` and all later ones.
    pub(crate) fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        match self {
            #[cfg(target_os = "linux")]
            ListenSocket::Blocking(socket) => {
                // The socket closes with the acceptor, even if this function is kept for longer.
                let socket = Arc::downgrade(socket);
                Box::new(move || {
                    if let Some(Err(error)) = socket.upgrade().map(|it| it.shutdown(std::net::Shutdown::Both))
                    {
                        error!("cannot shut down a listener: {error}");
                    }
                })
            }
            ListenSocket::Polled(polled) => {
                let waker = Arc::clone(&polled.waker);
                Box::new(move || {
                    if let Err(error) = waker.wake() {
                        error!("cannot wake an acceptor: {error}");
                    }
                })
            }
        }
    }

    /// Waits for a connection. Returns `None` if `deadline` comes first. After an interrupt, fails with some
    /// error.
    pub(crate) fn accept(&mut self, deadline: Option<Instant>) -> io::Result<Option<(Socket, SockAddr)>> {
        match self {
            #[cfg(target_os = "linux")]
            ListenSocket::Blocking(socket) => match deadline {
                Some(deadline) if !becomes_ready(socket, deadline)? => Ok(None),
                _ => platform::accept(socket).map(Some),
            },
            ListenSocket::Polled(polled) => polled.accept(deadline),
        }
    }
}

/// Waits until there is a connection or an error. Returns `false` if `deadline` comes first.
///
/// The connection stays in the queue until this thread accepts it, even if the peer disconnects. No other
/// thread accepts from this socket.
#[cfg(target_os = "linux")]
fn becomes_ready(socket: &Socket, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left))? > 0)
}

impl Polled {
    fn accept(&mut self, deadline: Option<Instant>) -> io::Result<Option<(Socket, SockAddr)>> {
        loop {
            match self.socket.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(Some),
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.poll.poll(&mut self.events, left)?;
            if self.events.iter().any(|event| event.token() == Token(1)) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.events.is_empty() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }
}

impl Refuse for Socket {
    fn refuse(&self, message: &[u8]) -> io::Result<()> {
        /// Winsock would take a message of any size at once (KB 214397).
        const MOST: usize = 64 * 1024;
        self.set_nonblocking(true)?;
        let mut rest = message;
        while !rest.is_empty() {
            match self.send_with_flags(&rest[..rest.len().min(MOST)], NO_SIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.shutdown(std::net::Shutdown::Write)
    }

    fn drop_input(&self) {
        /// More than a receive buffer holds. A peer that sends faster than this thread reads must not stop it.
        const MOST: usize = 8 * 1024 * 1024;
        let mut input = [MaybeUninit::uninit(); 16 * 1024];
        let mut dropped = 0;
        while dropped < MOST {
            match self.recv(&mut input) {
                Ok(0) => return,
                Ok(count) => dropped += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// A peer that has disconnected must not end a program that has the default action of SIGPIPE. On Apple's
/// systems, `socket2` sets a socket option for this instead.
#[cfg(all(unix, not(target_vendor = "apple")))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const NO_SIGNAL: i32 = 0;

/// On Unix, a single `accept4` returns a blocking socket. The `accept` of mio would return a non-blocking
/// socket.
#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::fd::AsRawFd;

    use mio::unix::SourceFd;
    use socket2::{SockAddr, Socket};

    pub(super) struct PolledListener(Socket);

    impl PolledListener {
        pub(super) fn new(socket: Socket) -> PolledListener {
            PolledListener(socket)
        }

        pub(super) fn accept(&self) -> io::Result<(Socket, SockAddr)> {
            accept(&self.0)
        }

        pub(super) fn source<T>(&mut self, f: impl FnOnce(&mut SourceFd<'_>) -> T) -> T {
            f(&mut SourceFd(&self.0.as_raw_fd()))
        }
    }

    pub(super) fn accept(socket: &Socket) -> io::Result<(Socket, SockAddr)> {
        socket.accept()
    }
}

/// On Windows, mio reports the next connection only after mio's own `accept` has found none.
#[cfg(not(unix))]
mod platform {
    use std::io;

    use socket2::{SockAddr, Socket};

    pub(super) struct PolledListener(mio::net::TcpListener);

    impl PolledListener {
        pub(super) fn new(socket: Socket) -> PolledListener {
            PolledListener(mio::net::TcpListener::from_std(socket.into()))
        }

        pub(super) fn accept(&self) -> io::Result<(Socket, SockAddr)> {
            let (stream, peer) = self.0.accept()?;
            Ok((std::net::TcpStream::from(stream).into(), peer.into()))
        }

        pub(super) fn source<T>(&mut self, f: impl FnOnce(&mut mio::net::TcpListener) -> T) -> T {
            f(&mut self.0)
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// The peer does not wait for the end until the connection is closed.
    #[test]
    fn a_refusal_is_the_message_and_the_end_while_the_socket_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let socket = Socket::from(listener.accept().unwrap().0);
        socket.refuse(b"busy").unwrap();
        let mut said = Vec::new();
        peer.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"busy");
        // This does not block, although the peer sends nothing.
        socket.drop_input();
    }
}
