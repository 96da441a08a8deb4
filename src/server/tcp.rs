//! The TCP server: its builder, its handle, and the code that connects listeners to sessions.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::error::with_context;
use crate::limits::Limits;
use crate::logging::{info, warn};
use crate::server::acceptor::Acceptor;
use crate::server::control::Control;
use crate::server::full::Full;
use crate::server::handle::ServerHandle;
use crate::server::listener::tcp::{bind, TcpListener, TcpOptions};
use crate::server::session::Sessions;
use crate::server::Server;
use crate::sync::thread;
use crate::transport::socket::SocketTransport;
use crate::transport::Transport;

/// `prepare` refuses smaller stacks. Buffers of the standard library, the user's stack frames and the frames
/// of a panic need this much.
const SMALLEST_STACK: usize = 128 * 1024;
/// `prepare` refuses larger stacks. The address space of a 64-bit process has room for thousands of such
/// stacks. A 32-bit process has at most 4 GiB in total.
const LARGEST_STACK: usize = if usize::BITS < 64 { 64 * 1024 * 1024 } else { 1024 * 1024 * 1024 };
/// More clients than this need a larger `vm.max_map_count` than the default of Linux, which is 65,530. A
/// thread takes about four mappings. If a thread is started beyond the limit, the standard library aborts the
/// process.
const MANY_CLIENTS: usize = 12_000;

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
    limits: Limits,
    options: TcpOptions,
    full: Full,
    stack: Option<usize>,
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
        let (limits, options) = (Limits::default(), TcpOptions::default());
        TcpServer { source, factory, limits, options, full: Full::default(), stack: None }
    }

    /// Sets how many clients are served at once. The minimum is 1. When the limit is reached, new clients
    /// wait in the kernel's queue, unless [`when_full`](TcpServer::when_full) says otherwise. Default: 1,024.
    pub fn max_clients(self, limit: usize) -> Self {
        self.limits.set_max_clients(limit);
        self
    }

    /// Sets the reaction to a new client when [`max_clients`](TcpServer::max_clients) are served. Default:
    /// [`Full::Wait`].
    ///
    /// With [`Full::Refuse`], the client gets a message and the end of the connection. This uses no thread,
    /// no adapter and no permanent descriptor, and it works if the client has already sent a request. The
    /// message is sent without waiting, so the part that does not fit into the send buffer of the socket is
    /// lost. A message of a few kilobytes fits. [`ServerStats::refused`] counts these clients, and there
    /// is at most one warning in 10 s. A suspended server does not refuse clients: they wait.
    ///
    /// ```
    /// use backport::{receiving, Full, Machine, TcpServer};
    ///
    /// # fn main() -> backport::Result {
    /// # let machine = Machine::new();
    /// let echo = || receiving(|client, data| Ok(client.write(data)?));
    /// let server = TcpServer::new("localhost:0", echo)
    ///     .max_clients(100)
    ///     .when_full(Full::Refuse(b"421 too many clients, try again later\r\n".to_vec()));
    /// machine.prepare(server)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`ServerStats::refused`]: crate::ServerStats::refused
    pub fn when_full(mut self, full: Full) -> Self {
        self.full = full;
        self
    }

    /// Sets the idle timeout. If a client sends nothing for this long, its connection ends
    /// ([`Idle`](crate::Closing::Idle)). Zero counts as one millisecond. Default: none.
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.limits.set_idle_timeout(Some(limit));
        self
    }

    /// Sets how long one write may take in total, with a precision of a tenth of a second. If a write takes
    /// longer, the client's connection ends ([`TooSlow`](crate::Closing::TooSlow)). With zero, this happens
    /// if the socket does not take a write at once. Default: 30 s.
    pub fn write_timeout(self, limit: Duration) -> Self {
        self.limits.set_write_timeout(limit);
        self
    }

    /// Sets how many [posted](crate::Client::post) bytes may wait for each client. Default: 1 MiB.
    pub fn max_backlog(self, bytes: usize) -> Self {
        self.limits.set_max_backlog(bytes);
        self
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`), even if earlier data was not acknowledged
    /// yet. Default: true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// Sets how soon a peer is noticed that has vanished, for example because its power failed. Default:
    /// 60 s.
    ///
    /// If a connection is silent for `time`, the system begins to probe the peer. A peer that has vanished
    /// ends as [`Lost`](crate::Closing::Lost) after about one and a half times `time`, and at the latest
    /// after twice `time`. On Linux and Android this is also true if output waits for the peer. There, a peer
    /// that reads nothing of the waiting output for that long also ends as `Lost`, even if it still exists. A
    /// pause of up to one and a half times `time` ends nothing. The guide lists the
    /// [other platforms](crate::guide::platforms).
    ///
    /// The time is in whole seconds, and a fraction is cut off. It is at least 1 s and at most 32,767 s, which
    /// is the limit of Linux ([tcp(7)]). Other values count as the nearest of these two. With a time of 1 or
    /// 2 s, a busy network can delay the end by a second, because the system's timers are not finer.
    ///
    /// With `None` the system does not check idle peers. A peer that has vanished while output waits for it
    /// then ends after the system's own time, which is about 15 minutes on Linux.
    ///
    /// [tcp(7)]: https://man7.org/linux/man-pages/man7/tcp.7.html
    pub fn keepalive(mut self, time: Option<Duration>) -> Self {
        self.options.keepalive = time;
        self
    }

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

    /// Sets the stack size of each client's thread, in bytes. Only the used part of a stack takes memory.
    ///
    /// The size must be at least 128 KiB and at most 1 GiB, or 64 MiB on a 32-bit system. Otherwise `prepare`
    /// returns an error. It also returns an error if the system cannot start a thread with such a stack.
    ///
    /// Default: the default of the standard library, which is 2 MiB unless `RUST_MIN_STACK` is set.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack = Some(bytes);
        self
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for TcpServer<F> {
    type Handle = TcpHandle;

    fn prepare(self, control: Control) -> io::Result<TcpHandle> {
        if let Some(stack) = self.stack {
            try_stack(stack)?;
        }
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
        let server = control.state();
        // If the system has not noticed by then that a peer has vanished, a write that waits for it does.
        self.limits.set_stall_timeout(self.options.keepalive_time().map(|time| time * 37 / 20));
        server.limits().take(&self.limits);
        if self.limits.max_clients() > MANY_CLIENTS {
            warn!(
                "max_clients is over {MANY_CLIENTS}: on Linux, raise vm.max_map_count to four times max_clients, \
                 and kernel.threads-max and the pids limit above max_clients; otherwise the process may be aborted"
            );
        }
        let reactor = Arc::clone(&control.engine().reactor);
        reactor.prepare();
        let connect =
            move |socket| -> Arc<dyn Transport> { SocketTransport::new(socket, Arc::clone(&reactor)) };
        let sessions = Arc::new(Sessions::new(&control, self.factory, connect).stack_size(self.stack));
        // All guards are created before the first thread starts, because the last guard to drop has an effect.
        let acceptors: Vec<_> = listeners
            .into_iter()
            .map(|listener| Acceptor::new(server, listener).when_full(self.full.clone()))
            .collect();
        for (index, acceptor) in acceptors.into_iter().enumerate() {
            let sessions = Arc::clone(&sessions);
            let name = match index {
                0 => format!("acceptor-{}", server.id().0),
                more => format!("acceptor-{}.{more}", server.id().0),
            };
            control.spawn(name, move || acceptor.run(|permit, accepted| sessions.start(permit, accepted)))?;
        }
        info!("server tcp {} is ready", addresses[0]);
        Ok(TcpHandle { server: control.handle(), addresses })
    }
}

/// Starts a thread with a stack of this size, so that a size that the system refuses is found before any
/// client comes.
fn try_stack(bytes: usize) -> io::Result<()> {
    if !(SMALLEST_STACK..=LARGEST_STACK).contains(&bytes) {
        let message = format!(
            "a stack_size of {bytes} bytes is not possible, it must be from {SMALLEST_STACK} to {LARGEST_STACK}"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let thread = thread::Builder::new().name("backport-stack".to_owned()).stack_size(bytes).spawn(|| ());
    let thread = thread.map_err(|error| {
        with_context(format_args!("cannot start a thread with a stack_size of {bytes} bytes"), &error)
    })?;
    thread.join().map_err(|_| io::Error::other("a thread that does nothing has panicked"))
}

impl<F> fmt::Debug for TcpServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("limits", &self.limits)
            .field("options", &self.options)
            .field("when_full", &self.full)
            .field("stack_size", &self.stack)
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
