//! A listening socket that a thread can wait at, and be called away from.
//!
//! On Linux the thread blocks in `accept4` itself, one system call a connection; shutting the socket
//! down ends that (`accept(2)` fails with EINVAL then), and refuses whoever comes at once. A socket
//! that may be shared with another process must not be shut down, since that would end it there
//! too; and elsewhere the shutdown doesn't wake the thread. There it waits for the socket and a
//! waker together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::{Events, Interest, Poll, Token, Waker};
use socket2::Socket;

use crate::report::report;

/// A listening socket.
pub(crate) enum Door {
    #[cfg(target_os = "linux")]
    Blocking(Arc<Socket>),
    Polled(Polled),
}

pub(crate) struct Polled {
    socket: platform::Listening,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Door {
    /// For a socket that nobody else has.
    pub(crate) fn own(socket: Socket) -> io::Result<Door> {
        #[cfg(target_os = "linux")]
        return Ok(Door::Blocking(Arc::new(socket)));
        #[cfg(not(target_os = "linux"))]
        Door::shared(socket)
    }

    /// For a socket that another process may have as well.
    pub(crate) fn shared(socket: Socket) -> io::Result<Door> {
        socket.set_nonblocking(true)?;
        let mut socket = platform::Listening::new(socket);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(1))?);
        socket.source(|source| poll.registry().register(source, Token(0), Interest::READABLE))?;
        Ok(Door::Polled(Polled { socket, poll, events: Events::with_capacity(4), waker }))
    }

    /// Ends the wait of `accept`, now or later, and all that follow.
    pub(crate) fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        match self {
            #[cfg(target_os = "linux")]
            Door::Blocking(socket) => {
                // It closes with the acceptor, whoever keeps this.
                let socket = Arc::downgrade(socket);
                Box::new(move || {
                    if let Some(Err(error)) = socket.upgrade().map(|it| it.shutdown(std::net::Shutdown::Both))
                    {
                        report!(Error, "cannot shut down a listener: {error}");
                    }
                })
            }
            Door::Polled(polled) => {
                let waker = Arc::clone(&polled.waker);
                Box::new(move || {
                    if let Err(error) = waker.wake() {
                        report!(Error, "cannot wake an acceptor: {error}");
                    }
                })
            }
        }
    }

    /// Waits for a connection. Once it was interrupted: any error.
    pub(crate) fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            #[cfg(target_os = "linux")]
            Door::Blocking(socket) => platform::accept(socket),
            Door::Polled(polled) => polled.accept(),
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

/// On Unix one `accept4` gives a blocking socket, which mio's own accept would not.
#[cfg(unix)]
mod platform {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use mio::unix::SourceFd;
    use socket2::Socket;

    pub(super) struct Listening(Socket);

    impl Listening {
        pub(super) fn new(socket: Socket) -> Listening {
            Listening(socket)
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
        // A peer that is gone already has no address on some systems.
        let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((socket, peer))
    }
}

/// On Windows mio tells the next arrival only after its own accept has said that there is none.
#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::net::SocketAddr;

    use socket2::Socket;

    pub(super) struct Listening(mio::net::TcpListener);

    impl Listening {
        pub(super) fn new(socket: Socket) -> Listening {
            Listening(mio::net::TcpListener::from_std(socket.into()))
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
