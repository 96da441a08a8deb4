//! The TCP server: its builder, its handle, and the code that connects listeners to sessions.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::ops::Deref;
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::error::with_context;
use crate::logging::info;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::tcp::{bind, TcpListener, TcpOptions};
use crate::server::proxy::ProxyUpgrade;
use crate::server::settings::{client_setters, listener_setters, tcp_setters, Settings};
use crate::server::Server;
use crate::transport::socket::SocketTransport;

/// A TCP server with its settings, for [`Machine::prepare`](crate::Machine::prepare).
///
/// [`Machine::prepare_tcp_server`](crate::Machine::prepare_tcp_server) is a shorter way to use all default
/// settings.
///
/// ```
/// use std::time::Duration;
/// use backport::{Machine, TcpServer};
///
/// # fn main() -> backport::Result {
/// let machine = Machine::new();
/// let factory = || backport::receiving(|client, data| Ok(client.write(data)?));
/// let server = machine.prepare(
///     TcpServer::new("localhost:0", factory)
///         .max_clients(100)
///         .idle_timeout(Duration::from_secs(300)),
/// )?;
/// println!("listening on {}", server.local_addr());
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct TcpServer<F> {
    source: io::Result<Source>,
    factory: F,
    settings: Settings,
    options: TcpOptions,
}

enum Source {
    Addresses(Vec<SocketAddr>),
    Listener(StdListener),
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> TcpServer<F> {
    /// Creates a server that listens on every address that `address` resolves to, on one port.
    ///
    /// `localhost` usually resolves to `127.0.0.1` and `[::1]`. With port 0 the system chooses a free port.
    /// If there are several addresses, the server skips addresses that this computer does not have, and logs
    /// a warning. This computer must have at least one of them.
    ///
    /// `factory` makes the adapter of each client, on the client's thread. This function resolves the
    /// address, which may block. If that fails, `prepare` returns the error.
    pub fn new(address: impl ToSocketAddrs + fmt::Debug, factory: F) -> TcpServer<F> {
        let source = match address.to_socket_addrs() {
            Ok(found) => {
                let mut addresses: Vec<SocketAddr> = Vec::new();
                for found in found {
                    if !addresses.contains(&found) {
                        addresses.push(found);
                    }
                }
                if addresses.is_empty() {
                    let message = format!("{address:?} resolves to no address");
                    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message))
                } else {
                    Ok(Source::Addresses(addresses))
                }
            }
            Err(error) => Err(with_context(format_args!("cannot resolve {address:?}"), &error)),
        };
        TcpServer::with(source, factory)
    }

    /// Creates a server with a listener that is already bound, for example by another process that has passed
    /// it on.
    ///
    /// All settings apply except [`backlog`](TcpServer::backlog) and [`reuse_port`](TcpServer::reuse_port).
    /// The listener becomes non-blocking, also for other processes that share it. Nothing else about it is
    /// changed, and it is not shut down when the server stops.
    pub fn from_listener(listener: StdListener, factory: F) -> TcpServer<F> {
        TcpServer::with(Ok(Source::Listener(listener)), factory)
    }

    fn with(source: io::Result<Source>, factory: F) -> TcpServer<F> {
        TcpServer { source, factory, settings: Settings::default(), options: TcpOptions::default() }
    }

    listener_setters!();
    client_setters!(settings.clients);
    tcp_setters!();

    /// Sets how many connections may wait in the kernel's queue until they are accepted (`listen(2)`). On
    /// Linux, `net.core.somaxconn` is the maximum. Default: 4,096.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// Sets whether several sockets may listen on the address and share its connections (`SO_REUSEPORT`). On
    /// Windows, `prepare` returns an error if this is `true`. Default: false.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.options.reuse_port = reuse;
        self
    }

    /// Expects that each connection begins with the header of a proxy, and believes it if `from` returns `true`
    /// for the address of the sender. Default: no header is expected, and none is recognized.
    ///
    /// The header is that of the [PROXY protocol], version 1 or 2. HAProxy sends it with `send-proxy-v2`, and
    /// other load balancers can send it, too. [`Client::remote`](crate::Client::remote) is then the client that
    /// the proxy speaks for, and [`Client::proxy`](crate::Client::proxy) is the address of the proxy itself.
    ///
    /// ```
    /// # use backport::{receiving, TcpServer};
    /// # let factory = || receiving(|client, data| Ok(client.write(data)?));
    /// // The proxy runs on this computer.
    /// let server = TcpServer::new("localhost:0", factory).proxy_protocol(|ip| ip.is_loopback());
    /// # drop(server);
    /// ```
    ///
    /// - Only a proxy may choose an address. A connection from any other sender is closed before
    ///   [`opening`](crate::Adapter::opening), with at most one warning in 10 s.
    /// - A connection without a header is closed before `opening`, too, with a record at the debug level.
    ///   [`ServerStats::handshakes_failed`](crate::ServerStats::handshakes_failed) counts both.
    /// - A connection of the proxy itself, for example a health check (`LOCAL`), keeps its real addresses. A
    ///   header without addresses (`UNKNOWN`, `AF_UNSPEC`, `AF_UNIX`) also keeps them, and so does an
    ///   unspecified address such as `0.0.0.0`. `Client::proxy` then is the address of the sender.
    /// - [`handshake_timeout`](TcpServer::handshake_timeout) limits the time for the header.
    /// - A header of version 2 may have at most 4 KiB after its first 16 bytes. Its extra fields are skipped.
    ///   A header of version 1 is read byte by byte, so version 2 needs less time.
    ///
    /// `from` is called once for each connection, on the client's thread. If it panics, that connection ends.
    ///
    /// [PROXY protocol]: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
    pub fn proxy_protocol(mut self, from: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.settings.proxy = Some(Arc::new(ProxyUpgrade::new(from)));
        self
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for TcpServer<F> {
    type Handle = TcpHandle;

    fn prepare(self, control: Control) -> io::Result<TcpHandle> {
        self.settings.clients.check()?;
        let listeners = match self.source? {
            Source::Addresses(addresses) => {
                // A stop may come while the addresses are bound, and its record needs a name.
                control.set_name(format!("tcp {}", addresses[0]));
                bind(&addresses, &self.options)?
            }
            Source::Listener(listener) => vec![TcpListener::shared(listener, &self.options)?],
        };
        let addresses: Arc<[SocketAddr]> = listeners.iter().map(TcpListener::local_addr).collect();
        control.set_name(format!("tcp {}", addresses[0]));
        self.settings.clients.limits.set_stall_timeout(self.options.stall_timeout());
        self.settings.serve(&control, self.factory, listeners, SocketTransport::new)?;
        info!("server tcp {} is ready", addresses[0]);
        Ok(TcpHandle { server: control.handle(), addresses })
    }
}

impl<F> fmt::Debug for TcpServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("settings", &self.settings)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A handle of a TCP server on a machine: a [`ServerHandle`] with the server's addresses.
#[derive(Clone, Debug)]
pub struct TcpHandle {
    server: ServerHandle,
    addresses: Arc<[SocketAddr]>,
}

impl TcpHandle {
    /// Returns the first address that the server listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Returns every address that the server listens on.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Deref for TcpHandle {
    type Target = ServerHandle;

    fn deref(&self) -> &ServerHandle {
        &self.server
    }
}
