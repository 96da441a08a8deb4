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
use std::net::SocketAddr;
use std::sync::Arc;

use mio::{Events, Interest, Poll, Token, Waker};
use socket2::Socket;

use crate::logging::error;

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

    /// Waits for a connection. After an interrupt, fails with some error.
    pub(crate) fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            #[cfg(target_os = "linux")]
            ListenSocket::Blocking(socket) => platform::accept(socket),
            ListenSocket::Polled(polled) => polled.accept(),
        }
    }
}

impl Polled {
    fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        loop {
            match self.socket.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.poll.poll(&mut self.events, None)?;
            if self.events.iter().any(|event| event.token() == Token(1)) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
}

/// On Unix, a single `accept4` returns a blocking socket. The `accept` of mio would return a non-blocking
/// socket.
#[cfg(unix)]
mod platform {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use mio::unix::SourceFd;
    use socket2::Socket;

    pub(super) struct PolledListener(Socket);

    impl PolledListener {
        pub(super) fn new(socket: Socket) -> PolledListener {
            PolledListener(socket)
        }

        pub(super) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
            accept(&self.0)
        }

        pub(super) fn source<T>(&mut self, f: impl FnOnce(&mut SourceFd<'_>) -> T) -> T {
            f(&mut SourceFd(&self.0.as_raw_fd()))
        }
    }

    pub(super) fn accept(socket: &Socket) -> io::Result<(Socket, SocketAddr)> {
        let (socket, peer) = socket.accept()?;
        // On some systems a peer that has already disconnected has no address.
        let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((socket, peer))
    }
}

/// On Windows, mio reports the next connection only after mio's own `accept` has found none.
#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::net::SocketAddr;

    use socket2::Socket;

    pub(super) struct PolledListener(mio::net::TcpListener);

    impl PolledListener {
        pub(super) fn new(socket: Socket) -> PolledListener {
            PolledListener(mio::net::TcpListener::from_std(socket.into()))
        }

        pub(super) fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
            let (stream, peer) = self.0.accept()?;
            Ok((std::net::TcpStream::from(stream).into(), peer))
        }

        pub(super) fn source<T>(&mut self, f: impl FnOnce(&mut mio::net::TcpListener) -> T) -> T {
            f(&mut self.0)
        }
    }
}
