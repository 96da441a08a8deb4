//! Binding and accepting TCP: every address that a name resolves to, on one port.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::with_context;
use crate::link::socket::set_patience;
use crate::server::acceptor::Listener;

/// What is set on listeners, and comes from them to the sockets that they accept.
#[derive(Clone, Debug)]
pub(crate) struct TcpOptions {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) backlog: u32,
    pub(crate) reuse_port: bool,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            backlog: 4_096,
            reuse_port: false,
        }
    }
}

impl TcpOptions {
    fn apply(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(time) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(time);
            // OpenBSD knows the time alone, and system-wide.
            #[cfg(not(target_os = "openbsd"))]
            let keepalive = keepalive.with_interval(time.min(Duration::from_secs(15)));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        set_patience(socket)
    }
}

/// A bound, listening socket.
pub(crate) struct TcpListener {
    socket: platform::Listening,
    local: SocketAddr,
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "accepted sockets inherit them there"))]
    options: TcpOptions,
}

/// Listens on every address, on one port: where the first port is 0, on the one that it gets.
///
/// An address family that this machine doesn't have is left out, unless it is the only one.
pub(crate) fn bind(addresses: &[SocketAddr], options: &TcpOptions) -> io::Result<Vec<TcpListener>> {
    /// Another process may hold the port that the first address was given by chance.
    const TRIES: usize = 16;
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_once(addresses, options) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && addresses.len() > 1
                    && addresses[0].port() == 0
                    && tries < TRIES => {}
            result => return result,
        }
    }
}

fn bind_once(addresses: &[SocketAddr], options: &TcpOptions) -> io::Result<Vec<TcpListener>> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for &address in addresses {
        let mut address = address;
        if let (0, Some(first)) = (address.port(), bound.first()) {
            address.set_port(first.local.port());
        }
        match listen(address, addresses.len() == 1, options) {
            Ok(listener) => bound.push(listener),
            Err(error) if is_family_missing(&error) => {
                missing = missing.or(Some(with_context(format_args!("cannot listen on {address}"), &error)));
            }
            Err(error) => {
                return Err(with_context(format_args!("cannot listen on {address}"), &error));
            }
        }
    }
    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

fn is_family_missing(error: &io::Error) -> bool {
    #[cfg(unix)]
    const AFNOSUPPORT: i32 = libc::EAFNOSUPPORT;
    #[cfg(not(unix))]
    const AFNOSUPPORT: i32 = 10047; // WSAEAFNOSUPPORT
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(AFNOSUPPORT)
}

fn listen(address: SocketAddr, alone: bool, options: &TcpOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` alone serves both families; beside `0.0.0.0` each serves its own.
        let dual = alone && address.ip() == Ipv6Addr::UNSPECIFIED;
        socket.set_only_v6(!dual)?;
    }
    // On Windows the option lets a second process steal the port; there it is not needed.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(options.reuse_port)?;
    #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
    if options.reuse_port {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no reuse_port on this platform"));
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::new(socket.into(), options)
}

impl TcpListener {
    pub(crate) fn new(listener: StdListener, options: &TcpOptions) -> io::Result<TcpListener> {
        let local = listener.local_addr()?;
        let socket = Socket::from(listener);
        socket.set_nonblocking(true)?;
        options.apply(&socket)?;
        Ok(TcpListener { socket: platform::Listening::new(socket), local, options: options.clone() })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Listener for TcpListener {
    type Arrival = (Socket, SocketAddr, SocketAddr);

    fn accept(&self) -> io::Result<Self::Arrival> {
        let (socket, peer) = self.socket.accept()?;
        // On Linux an accepted socket blocks, and has the options of its listener (`accept4` and
        // the copy of the socket in the kernel). Elsewhere either may be otherwise.
        #[cfg(not(target_os = "linux"))]
        {
            socket.set_nonblocking(false)?;
            self.options.apply(&socket)?;
        }
        let local = if self.local.ip().is_unspecified() {
            let local = socket.local_addr()?.as_socket();
            local.unwrap_or(self.local)
        } else {
            self.local
        };
        Ok((socket, canonical(peer), canonical(local)))
    }
}

/// An IPv4 peer of a dual-stack listener, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl mio::event::Source for TcpListener {
    fn register(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        self.socket.source(|source| source.register(registry, token, interests))
    }

    fn reregister(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
        interests: mio::Interest,
    ) -> io::Result<()> {
        self.socket.source(|source| source.reregister(registry, token, interests))
    }

    fn deregister(&mut self, registry: &mio::Registry) -> io::Result<()> {
        self.socket.source(|source| source.deregister(registry))
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
            let (socket, peer) = self.0.accept()?;
            // A peer that is gone already has no address on some systems.
            let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((socket, peer))
        }

        pub(super) fn source<T>(&mut self, f: impl FnOnce(&mut SourceFd<'_>) -> T) -> T {
            f(&mut SourceFd(&self.0.as_raw_fd()))
        }
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
