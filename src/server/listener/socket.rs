//! A listening socket on which a thread can wait, and can be interrupted.
//!
//! On Linux the thread blocks in `accept4` itself, which is one system call for each connection. A shutdown
//! of the socket ends that wait (`accept(2)` fails with EINVAL then) and refuses new connections at once.
//!
//! A socket that another process may share must not be shut down, because that would end it there, too. On
//! other systems the shutdown does not wake the thread. In both cases the thread waits for the socket and a
//! waker together.

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
    /// Takes a socket that belongs to this process alone.
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
                // The socket closes with the acceptor, however long this function is kept.
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

    /// Waits for a connection. Fails with any error after an interrupt.
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

/// On Unix, one `accept4` gives a blocking socket. mio's own accept would give a non-blocking one.
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
        // On some systems a peer that has already gone has no address.
        let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((socket, peer))
    }
}

/// On Windows, mio reports the next connection only after its own accept has found none.
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
