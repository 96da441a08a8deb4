//! The TCP server: a builder, its handle, and the glue between the listeners and the workers.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::error::with_context;
use crate::limits::Limits;
use crate::link::socket::SocketLink;
use crate::link::Link;
use crate::remote::Remote;
use crate::report::report;
use crate::server::acceptor::Acceptor;
use crate::server::handle::ServerHandle;
use crate::server::listen::{bind, TcpListener, TcpOptions};
use crate::server::{Control, Server};
use crate::worker::Host;

/// The smallest stack that is not refused: std's buffers, the user's frames and a panic's need it.
const SMALLEST_STACK: usize = 128 * 1024;
/// More clients than this want a larger `vm.max_map_count` than Linux has by default (65,530, at
/// about four mappings a thread); starting a thread beyond it aborts the process inside std.
const MANY_CLIENTS: usize = 12_000;

/// A TCP server with its settings, for [`Machine::prepare`](crate::Machine::prepare).
///
/// [`Machine::prepare_tcp_server`](crate::Machine::prepare_tcp_server) is the short form.
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
    limits: Limits,
    options: TcpOptions,
    stack: Option<usize>,
}

enum Source {
    Addresses(Vec<SocketAddr>),
    Listener(StdListener),
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> TcpServer<F> {
    /// A server that will listen on every address that `address` resolves to (`localhost`: usually
    /// `127.0.0.1` and `[::1]`), on one port; port 0 takes one that is free. Of several, those that
    /// this computer doesn't have are left out, with a warning in the log; one at least it must have.
    /// `factory` makes the adapter of each client, on the client's thread.
    ///
    /// Resolves here, which may block; an error waits for `prepare`.
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

    /// A server on a listener that is bound already: one that another process handed over, say. The
    /// settings of connections apply to it, those of listening ([`backlog`](TcpServer::backlog),
    /// [`reuse_port`](TcpServer::reuse_port)) don't. The listener becomes non-blocking, for whoever else
    /// holds it too; otherwise it stays as it is, also when the server stops.
    pub fn from_listener(listener: StdListener, factory: F) -> TcpServer<F> {
        TcpServer::with(Ok(Source::Listener(listener)), factory)
    }

    fn with(source: io::Result<Source>, factory: F) -> TcpServer<F> {
        let (limits, options) = (Limits::default(), TcpOptions::default());
        TcpServer { source, factory, limits, options, stack: None }
    }

    /// How many clients are served at once, at least 1. Beyond it the acceptor pauses and the
    /// kernel queues. Default: 1,024.
    pub fn max_clients(self, limit: usize) -> Self {
        self.limits.set_max_clients(limit);
        self
    }

    /// Ends a client from which nothing has come for so long ([`Idle`](crate::Closing::Idle)). Zero
    /// is a millisecond, not none. Default: none.
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.limits.set_idle_timeout(Some(limit));
        self
    }

    /// How long one write may take in all, kept to within a tenth of a second. Then the client ends
    /// ([`TooSlow`](crate::Closing::TooSlow)). Zero ends one that has no room for all of a write, give
    /// or take that tenth. Default: 30 s.
    pub fn write_timeout(self, limit: Duration) -> Self {
        self.limits.set_write_timeout(limit);
        self
    }

    /// How many bytes may wait for a client that is [`post`](crate::Client::post)ed to. Default:
    /// 1 MiB.
    pub fn max_backlog(self, bytes: usize) -> Self {
        self.limits.set_max_backlog(bytes);
        self
    }

    /// Whether small writes go out at once (`TCP_NODELAY`) rather than wait for an
    /// acknowledgement. Default: true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// After how long a silence the kernel asks whether the peer is still there; whole seconds, at
    /// least 1. `None` never asks. Default: 60 s.
    pub fn keepalive(mut self, time: Option<Duration>) -> Self {
        self.options.keepalive = time.map(|time| time.max(Duration::from_secs(1)));
        self
    }

    /// How many connections the kernel queues that are not accepted yet (`listen(2)`; Linux cuts it
    /// to `net.core.somaxconn`). Default: 4,096.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// Whether several sockets may listen on the address, and share what comes (`SO_REUSEPORT`; not
    /// on Windows). Default: false.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.options.reuse_port = reuse;
        self
    }

    /// The stack of each client's thread, in bytes; less than 128 KiB is refused by `prepare`.
    /// Default: std's, 2 MiB unless `RUST_MIN_STACK` says otherwise. Only what is touched of it
    /// takes memory.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for TcpServer<F> {
    type Handle = TcpHandle;

    fn prepare(self, control: Control) -> io::Result<TcpHandle> {
        if self.stack.is_some_and(|stack| stack < SMALLEST_STACK) {
            let message = format!("a stack_size below {SMALLEST_STACK} bytes is too small to run on");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listeners = match self.source? {
            Source::Addresses(addresses) => bind(&addresses, &self.options)?,
            Source::Listener(listener) => vec![TcpListener::shared(listener, &self.options)?],
        };
        let addresses: Arc<[SocketAddr]> = listeners.iter().map(TcpListener::local_addr).collect();
        control.set_name(format!("tcp {}", addresses[0]));
        let core = control.core();
        core.limits().take(&self.limits);
        if self.limits.max_clients() > MANY_CLIENTS {
            report!(
                Warn,
                "max_clients is over {MANY_CLIENTS}: on Linux, raise vm.max_map_count to four times it, \
                 and kernel.threads-max and the pids limit above it, or starting a thread may abort"
            );
        }
        let engine = control.engine();
        let (pool, threads) = (Arc::clone(&engine.pool), Arc::clone(&engine.threads));
        let host = Host::new(Arc::clone(core), pool, threads, self.factory, self.stack);
        let host = Arc::new(host);
        engine.watcher.prepare();
        // All of them before the first is started: the last to end closes the clients.
        let acceptors: Vec<_> = listeners.into_iter().map(|listener| Acceptor::new(core, listener)).collect();
        for (index, acceptor) in acceptors.into_iter().enumerate() {
            let (host, watcher) = (Arc::clone(&host), Arc::clone(&engine.watcher));
            let name = match index {
                0 => format!("acceptor-{}", core.id().0),
                more => format!("acceptor-{}.{more}", core.id().0),
            };
            control.spawn(name, move || {
                acceptor.run(|seat, (socket, peer, local)| {
                    let watcher = Arc::clone(&watcher);
                    host.welcome(seat, move || {
                        (SocketLink::new(socket, watcher) as Arc<dyn Link>, Remote::Tcp { peer, local })
                    })
                });
            })?;
        }
        report!(Info, "server tcp {} is ready", addresses[0]);
        Ok(TcpHandle { server: control.handle(), addresses })
    }
}

impl<F> fmt::Debug for TcpServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("limits", &self.limits)
            .field("options", &self.options)
            .field("stack_size", &self.stack)
            .finish_non_exhaustive()
    }
}

/// A TCP server on a machine: a [`ServerHandle`] that knows its addresses.
#[derive(Clone, Debug)]
pub struct TcpHandle {
    server: ServerHandle,
    addresses: Arc<[SocketAddr]>,
}

impl TcpHandle {
    /// The first address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every address that it listens on.
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
