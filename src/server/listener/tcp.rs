//! Binds TCP listeners and accepts from them. A name can resolve to several addresses, which get the same
//! port.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::with_context;
use crate::logging::warn;
use crate::remote::Remote;
use crate::server::listener::socket::ListenSocket;
use crate::server::listener::{Accepted, Listener};
use crate::transport::socket::set_wait_slice;

/// The options of a listener and of the sockets that it accepts.
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
            // On OpenBSD the times are settings of the whole system.
            #[cfg(not(target_os = "openbsd"))]
            let keepalive = keepalive.with_interval(time.min(Duration::from_secs(15)));
            socket
                .set_tcp_keepalive(&keepalive)
                .map_err(|error| with_context(format_args!("cannot set keepalive to {time:?}"), &error))?;
        }
        set_wait_slice(socket)
    }
}

/// A bound TCP socket that listens.
pub(crate) struct TcpListener {
    socket: ListenSocket,
    local: SocketAddr,
    /// The options that accepted sockets do not inherit from this one.
    options: Option<TcpOptions>,
}

/// Listens on every address, with the same port. If the port of the first address is 0, the system chooses
/// the port.
///
/// An address that this computer does not have is left out with a warning, unless it is the only one.
pub(crate) fn bind(addresses: &[SocketAddr], options: &TcpOptions) -> io::Result<Vec<TcpListener>> {
    /// How often to try again if another process uses the chosen port on another address.
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
        warn!("{error}: this address is left out");
    }
    Ok(bound)
}

/// Returns `true` if this computer does not have such an address, or no address of that family.
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
        // `[::]` alone serves both families. Together with `0.0.0.0`, each of the two serves its own family.
        let dual = alone && address.ip() == Ipv6Addr::UNSPECIFIED;
        socket.set_only_v6(!dual)?;
    }
    // On Windows the option would let a second process steal the port, and it is not needed there.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(options.reuse_port)?;
    #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
    if options.reuse_port {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "this platform has no reuse_port"));
    }
    // Set before the socket listens, so that the first connection also gets the options.
    options.apply(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    // On Linux an accepted socket inherits the options of its listener. Other systems may differ.
    let missing = (!cfg!(target_os = "linux")).then(|| options.clone());
    TcpListener::new(socket, missing, ListenSocket::own)
}

impl TcpListener {
    /// Takes a listener that was bound elsewhere. Another process may share it, so it is only made
    /// non-blocking. Connections may already wait in its queue, and would not inherit options that are set
    /// now.
    pub(crate) fn shared(listener: StdListener, options: &TcpOptions) -> io::Result<TcpListener> {
        let domain = Domain::for_address(listener.local_addr()?);
        // If the system refuses an option, this fails here once, instead of later for each client.
        options.apply(&Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?)?;
        TcpListener::new(listener.into(), Some(options.clone()), ListenSocket::shared)
    }

    fn new(
        socket: Socket,
        options: Option<TcpOptions>,
        take: impl FnOnce(Socket) -> io::Result<ListenSocket>,
    ) -> io::Result<TcpListener> {
        let local = socket.local_addr()?.as_socket();
        let local = local.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a TCP listener"))?;
        Ok(TcpListener { socket: take(socket)?, local, options })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Prepares an accepted socket for its transport and returns its local address.
    fn ready(&self, socket: &Socket) -> io::Result<SocketAddr> {
        // On Linux an accepted socket is blocking, even if its listener is not (`accept(2)`).
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
    type Socket = Socket;

    fn interrupter(&self) -> Box<dyn FnOnce() + Send> {
        self.socket.interrupter()
    }

    fn accept(&mut self) -> io::Result<Accepted<Socket>> {
        let (socket, peer) = self.socket.accept()?;
        let local = self.ready(&socket).map_err(died)?;
        Ok(Accepted { socket, remote: Remote::Tcp { peer: canonical(peer), local: canonical(local) } })
    }
}

/// Turns an error of an accepted socket into ECONNABORTED, because it must not look like an error of the
/// listener. The cause is that the peer has already disconnected. macOS reports this with EINVAL when socket
/// options are set.
fn died(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// Returns an IPv4 address in IPv4 form, even if a dual-stack listener has reported it in IPv6 form.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
