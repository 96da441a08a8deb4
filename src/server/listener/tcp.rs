//! Binds TCP listeners and accepts from them. A name can resolve to several addresses, which get the same
//! port.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener as StdListener, TcpStream};
use std::time::{Duration, Instant};

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
    /// Returns the keepalive time as the system takes it.
    fn keepalive_time(&self) -> Option<Duration> {
        // tcp(7): the keepalive time is at most 32,767 s (MAX_TCP_KEEPIDLE).
        self.keepalive.map(|time| Duration::from_secs(time.as_secs().clamp(1, 32_767)))
    }

    /// Returns after how long a write that waits in vain notices that the peer has vanished, if the system has
    /// not noticed it by then.
    pub(crate) fn stall_timeout(&self) -> Option<Duration> {
        self.keepalive_time().map(|time| time * 37 / 20)
    }

    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(time) = self.keepalive_time() {
            notice_a_vanished_peer(socket, time)
                .map_err(|error| with_context(format_args!("cannot set keepalive to {time:?}"), &error))?;
        }
        set_wait_slice(socket)
    }
}

/// Makes the system end the connection of a peer that has vanished, after about one and a half times `time`.
///
/// An idle peer is probed after `time`, and then after every sixth of it. If output waits for the peer, no
/// probes are sent, and Linux would keep the connection for about 15 minutes. `TCP_USER_TIMEOUT` limits that
/// time (`tcp(7)`). It replaces the limit on the number of probes. It also ends a peer whose receive window
/// stays closed for that long, so it must not be shorter than a pause that is allowed.
///
/// The kernel's clock starts when it repeats a packet or probes a closed window for the first time, which is
/// at least 200 ms late (`tcp_timer.c`). For this reason the limit is a little shorter.
fn notice_a_vanished_peer(socket: &Socket, time: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(time);
    #[cfg_attr(
        any(target_os = "openbsd", target_os = "solaris"),
        allow(unused_variables, reason = "the system has its own times")
    )]
    let time = time.as_secs();
    // On OpenBSD and Solaris the times are settings of the whole system. Windows sends ten probes.
    #[cfg(windows)]
    let keepalive = keepalive.with_interval(Duration::from_millis(time * 1000 / 20));
    #[cfg(not(any(windows, target_os = "openbsd", target_os = "solaris")))]
    let keepalive = {
        let interval = (time / 6).max(1);
        let probes = u32::try_from(time / 2 / interval).unwrap_or(u32::MAX).max(1);
        keepalive.with_interval(Duration::from_secs(interval)).with_retries(probes)
    };
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(Duration::from_millis(time * 1500 - 100)))?;
    Ok(())
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

    fn accept(&mut self, deadline: Option<Instant>) -> io::Result<Option<Accepted<Socket>>> {
        let Some((socket, peer)) = self.socket.accept(deadline)? else { return Ok(None) };
        // On some systems a peer that has already disconnected has no address.
        let peer = peer.as_socket().ok_or(io::ErrorKind::ConnectionAborted)?;
        let local = self.ready(&socket).map_err(died)?;
        Ok(Some(Accepted { socket, remote: Remote::Tcp { peer: canonical(peer), local: canonical(local) } }))
    }
}

/// Prepares a stream that was connected elsewhere for its transport.
pub(crate) fn connected(stream: TcpStream, options: &TcpOptions) -> io::Result<Accepted<Socket>> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let socket = Socket::from(stream);
    // The transport assumes that a read blocks without a timeout, except where `apply` changes that.
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(None)?;
    options.apply(&socket)?;
    Ok(Accepted { socket, remote: Remote::Tcp { peer: canonical(peer), local: canonical(local) } })
}

/// Turns an error of an accepted socket into ECONNABORTED, because it must not look like an error of the
/// listener. The cause is that the peer has already disconnected. macOS reports this with EINVAL when socket
/// options are set.
fn died(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// Returns an IPv4 address in IPv4 form, even if a dual-stack listener has reported it in IPv6 form. Every
/// other address stays as it is, with its scope.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts a connection with this keepalive, from a listener of its own and from one that was bound elsewhere.
    #[cfg(target_os = "linux")]
    fn accepted(keepalive: Option<Duration>) -> [Socket; 2] {
        let options = TcpOptions { keepalive, ..TcpOptions::default() };
        let own = bind(&["127.0.0.1:0".parse().unwrap()], &options).unwrap().remove(0);
        let shared = TcpListener::shared(StdListener::bind("127.0.0.1:0").unwrap(), &options).unwrap();
        [own, shared].map(|mut listener| {
            let _peer = TcpStream::connect(listener.local_addr()).unwrap();
            listener.accept(None).unwrap().expect("no deadline").socket
        })
    }

    /// P24: the limits of the kernel follow from the keepalive time, and no time is an error.
    #[test]
    #[cfg(target_os = "linux")]
    fn an_accepted_socket_notices_a_vanished_peer_within_twice_any_keepalive_time() {
        for (time, seconds) in [
            (Duration::ZERO, 1),
            (Duration::from_millis(1), 1),
            (Duration::from_millis(2_999), 2),
            (Duration::from_secs(3), 3),
            (Duration::from_secs(7), 7),
            (Duration::from_secs(60), 60),
            (Duration::from_secs(32_767), 32_767),
            (Duration::from_secs(40_000), 32_767),
            (Duration::MAX, 32_767),
        ] {
            for socket in accepted(Some(time)) {
                assert!(socket.keepalive().unwrap());
                let idle = socket.tcp_keepalive_time().unwrap();
                assert_eq!(idle, Duration::from_secs(seconds));
                let limit = socket.tcp_user_timeout().unwrap().expect("a limit");
                assert_eq!(limit, idle * 3 / 2 - Duration::from_millis(100));
                // An idle peer ends at the first probe after the limit, and the first probe never ends it.
                let interval = socket.tcp_keepalive_interval().unwrap();
                let probes = (limit - idle).as_secs_f64() / interval.as_secs_f64();
                let ends = idle + interval * (probes.ceil() as u32).max(1);
                assert!(ends <= idle * 2, "{time:?}: ends after {ends:?}");
                // The timers of Linux are up to an eighth late.
                assert!(seconds < 3 || ends * 9 / 8 <= idle * 2, "{time:?}: ends after {ends:?}");
            }
        }
        for socket in accepted(None) {
            assert!(!socket.keepalive().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        }
    }

    #[test]
    fn only_an_address_that_stands_for_ipv4_changes_its_form() {
        for (address, expected) in [
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::192.0.2.1]:80", "[::192.0.2.1]:80"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(canonical(address), expected.parse().unwrap());
        }
    }
}
