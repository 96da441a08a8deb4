//! Binding and accepting TCP: every address that a name resolves to, on one port.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::with_context;
use crate::link::socket::set_patience;
use crate::report::report;
use crate::server::acceptor::Listener;
use crate::server::door::Door;

/// What is set on our own listeners, and with it on the sockets that they accept.
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
            socket
                .set_tcp_keepalive(&keepalive)
                .map_err(|error| with_context(format_args!("cannot set keepalive to {time:?}"), &error))?;
        }
        set_patience(socket)
    }
}

/// A bound, listening socket.
pub(crate) struct TcpListener {
    door: Door,
    local: SocketAddr,
    /// What accepted sockets don't have from it.
    options: Option<TcpOptions>,
}

/// Listens on every address, on one port: where the first port is 0, on the one that it gets.
///
/// An address that this machine doesn't have is left out, with a warning, unless it is the only one.
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
    let mut missing = Vec::new();
    for &address in addresses {
        let mut address = address;
        if let (0, Some(first)) = (address.port(), bound.first()) {
            address.set_port(first.local.port());
        }
        match listen(address, addresses.len() == 1, options) {
            Ok(listener) => bound.push(listener),
            Err(error) => {
                let told = with_context(format_args!("cannot listen on {address}"), &error);
                if !is_missing(&error) {
                    return Err(told);
                }
                missing.push(told);
            }
        }
    }
    if bound.is_empty() && !missing.is_empty() {
        return Err(missing.swap_remove(0));
    }
    for error in missing {
        report!(Warn, "{error}: it is left out");
    }
    Ok(bound)
}

/// Whether this machine has no such address, or none of its family.
fn is_missing(error: &io::Error) -> bool {
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
    // Before it listens: what comes to it has them from the first on.
    options.apply(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    // On Linux the kernel makes the socket of a connection a copy of its listener's. Elsewhere it
    // may be otherwise.
    let missing = (!cfg!(target_os = "linux")).then(|| options.clone());
    TcpListener::new(socket, missing, Door::own)
}

impl TcpListener {
    /// One that came from elsewhere: another process may hold it too, so it is left as it is but for
    /// not blocking. It may have a queue already, whose sockets wouldn't have options from it anyway.
    pub(crate) fn shared(listener: StdListener, options: &TcpOptions) -> io::Result<TcpListener> {
        let domain = Domain::for_address(listener.local_addr()?);
        // What the system doesn't take is an error here, not one of each client.
        options.apply(&Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?)?;
        TcpListener::new(listener.into(), Some(options.clone()), Door::shared)
    }

    fn new(
        socket: Socket,
        options: Option<TcpOptions>,
        door: impl FnOnce(Socket) -> io::Result<Door>,
    ) -> io::Result<TcpListener> {
        let local = socket.local_addr()?.as_socket();
        let local = local.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a TCP listener"))?;
        Ok(TcpListener { door: door(socket)?, local, options })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Makes an accepted socket one that a link takes. Its local address.
    fn ready(&self, socket: &Socket) -> io::Result<SocketAddr> {
        // On Linux an accepted socket blocks, whatever its listener does (`accept(2)`).
        #[cfg(not(target_os = "linux"))]
        socket.set_nonblocking(false)?;
        if let Some(options) = &self.options {
            options.apply(socket)?;
        }
        if !self.local.ip().is_unspecified() {
            return Ok(self.local);
        }
        Ok(socket.local_addr()?.as_socket().unwrap_or(self.local))
    }
}

impl Listener for TcpListener {
    type Arrival = (Socket, SocketAddr, SocketAddr);

    fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        self.door.interrupter()
    }

    fn accept(&mut self) -> io::Result<Self::Arrival> {
        let (socket, peer) = self.door.accept()?;
        let local = self.ready(&socket).map_err(died)?;
        Ok((socket, canonical(peer), canonical(local)))
    }
}

/// An accepted socket that can't be used: its peer is gone already, which some systems say with
/// EINVAL (macOS, of options). It must not be taken for an error of the listener.
fn died(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// An IPv4 peer of a dual-stack listener, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
