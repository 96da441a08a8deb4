//! The settings that all servers with a listener share, and how such a server begins to serve.
//!
//! The macros define the methods of the builders, so that each setting is described once. A builder that uses
//! them has the fields that their first lines name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use crate::adapter::Adapter;
use crate::error::with_context;
use crate::limits::Limits;
use crate::logging::warn;
use crate::reactor::Reactor;
use crate::server::acceptor::Acceptor;
use crate::server::control::Control;
use crate::server::full::Full;
use crate::server::listener::Listener;
use crate::server::session::Sessions;
use crate::server::state::ServerState;
use crate::server::threads::Threads;
#[cfg(feature = "tls")]
use crate::server::tls::{Begin, ServerTls};
use crate::server::upgrade::{Upgrade, Upgrades, HANDSHAKE_TIMEOUT};
use crate::sync::thread;
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

/// The settings of a server with a listener, except those of its kind of socket.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) clients: ClientSettings,
    pub(crate) full: Full,
    pub(crate) threads: Threads,
    /// The first upgrade of each connection. It finds out whom a proxy speaks for.
    pub(crate) proxy: Option<Arc<dyn Upgrade>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<(Arc<rustls::ServerConfig>, Begin)>,
}

/// The settings of each client, which outgoing connections have, too.
#[derive(Debug)]
pub(crate) struct ClientSettings {
    pub(crate) limits: Limits,
    pub(crate) stack: Option<usize>,
    pub(crate) handshake_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings { limits: Limits::default(), stack: None, handshake_timeout: HANDSHAKE_TIMEOUT }
    }
}

impl ClientSettings {
    /// Checks that the settings are possible.
    ///
    /// # Errors
    /// Returns an error if the system cannot start a thread with the stack size.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.stack.map_or(Ok(()), try_stack)
    }

    /// Applies the settings to the sessions of a server.
    pub(crate) fn apply<A, F, S>(
        &self,
        sessions: Sessions<F, S>,
        steps: Vec<Arc<dyn Upgrade>>,
    ) -> Sessions<F, S>
    where
        A: Adapter,
        F: Fn() -> A + Send + Sync + 'static,
        S: Send + 'static,
    {
        let upgrades = Upgrades { steps, timeout: self.handshake_timeout };
        sessions.stack_size(self.stack).upgrades(upgrades)
    }
}

impl Settings {
    /// Starts one acceptor for each listener. `connect` makes the transport of an accepted socket.
    pub(crate) fn serve<A, F, L, T>(
        self,
        control: &Control,
        factory: F,
        listeners: Vec<L>,
        connect: fn(Socket, Arc<Reactor>) -> Arc<T>,
    ) -> io::Result<()>
    where
        A: Adapter,
        F: Fn() -> A + Send + Sync + 'static,
        L: Listener<Socket = Socket>,
        T: Transport + 'static,
    {
        let server = control.state();
        let limits = &self.clients.limits;
        server.limits().take(limits);
        if limits.max_clients() > MANY_CLIENTS && self.threads == Threads::PerClient {
            warn!(
                "max_clients is over {MANY_CLIENTS}: on Linux, raise vm.max_map_count to four times max_clients, \
                 and kernel.threads-max and the pids limit above max_clients; otherwise the process may be aborted"
            );
        }
        let reactor = Arc::clone(&control.engine().reactor);
        reactor.prepare();
        let connect = move |socket| -> Arc<dyn Transport> { connect(socket, Arc::clone(&reactor)) };
        let steps = self.steps(server);
        // A message in plain text must not get into an encrypted connection.
        let full = match self.full {
            Full::Refuse(_) if steps.iter().any(|step| step.encrypts()) => Full::Refuse(Vec::new()),
            full => full,
        };
        let crews = self.threads.crews(control, self.clients.stack);
        let sessions = self.clients.apply(Sessions::new(control, factory, connect), steps).crews(crews);
        let sessions = Arc::new(sessions);
        // All guards are created before the first thread starts, because the last guard to drop has an effect.
        let acceptors: Vec<_> = listeners
            .into_iter()
            .map(|listener| Acceptor::new(server, listener).when_full(full.clone()))
            .collect();
        for (index, acceptor) in acceptors.into_iter().enumerate() {
            let sessions = Arc::clone(&sessions);
            let name = match index {
                0 => format!("acceptor-{}", server.id().0),
                more => format!("acceptor-{}.{more}", server.id().0),
            };
            control.spawn(name, move || acceptor.run(|permit, accepted| sessions.start(permit, accepted)))?;
        }
        Ok(())
    }

    /// Returns the upgrades of each connection, in order.
    fn steps(&self, server: &ServerState) -> Vec<Arc<dyn Upgrade>> {
        let steps = self.proxy.iter().map(Arc::clone);
        #[cfg(feature = "tls")]
        let steps = steps.chain(self.tls.as_ref().map(|(config, begin)| {
            let tls = ServerTls::new(Arc::clone(config), self.clients.handshake_timeout);
            server.set_tls(Arc::clone(&tls));
            tls.upgrade(*begin)
        }));
        #[cfg(not(feature = "tls"))]
        let _ = server;
        steps.collect()
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

/// The methods of a builder for the limits of each client. They use the field `clients` of a [`ClientSettings`],
/// which `$clients` is the path of.
macro_rules! client_setters {
    ($($clients:ident).+) => {
        /// Sets the idle timeout. If the peer sends nothing for this long, the connection ends
        /// ([`Idle`](crate::Closing::Idle)). Zero counts as one millisecond. Default: none.
        pub fn idle_timeout(self, limit: std::time::Duration) -> Self {
            self.$($clients).+.limits.set_idle_timeout(Some(limit));
            self
        }

        /// Sets how long one write may take in total, with a precision of a tenth of a second. If a write
        /// takes longer, the connection ends ([`TooSlow`](crate::Closing::TooSlow)). With zero, this happens
        /// if the socket does not take a write at once. Default: 30 s.
        pub fn write_timeout(self, limit: std::time::Duration) -> Self {
            self.$($clients).+.limits.set_write_timeout(limit);
            self
        }

        /// Sets how many [posted](crate::Client::post) bytes may wait for each client. Default: 1 MiB.
        pub fn max_backlog(self, bytes: usize) -> Self {
            self.$($clients).+.limits.set_max_backlog(bytes);
            self
        }

        /// Sets how long the handshakes of one client may take together: the header of a proxy, and the
        /// handshake of TLS. After that, the connection ends before
        /// [`opening`](crate::Adapter::opening). A stop ends a handshake at once. Default: 10 s.
        pub fn handshake_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($clients).+.handshake_timeout = limit;
            self
        }

        /// Sets the stack size of each client's thread, in bytes. Only the used part of a stack takes memory.
        ///
        /// The size must be at least 128 KiB and at most 1 GiB, or 64 MiB on a 32-bit system. Otherwise
        /// `prepare` returns an error. It also returns an error if the system cannot start a thread with such
        /// a stack.
        ///
        /// Default: the default of the standard library, which is 2 MiB unless `RUST_MIN_STACK` is set.
        pub fn stack_size(mut self, bytes: usize) -> Self {
            self.$($clients).+.stack = Some(bytes);
            self
        }
    };
}

/// The methods of a builder for a server with a listener. They use the field `settings`, a [`Settings`].
macro_rules! listener_setters {
    () => {
        /// Sets how many clients are served at once. The minimum is 1. When the limit is reached, new clients
        /// wait in the kernel's queue, unless [`when_full`](Self::when_full) says otherwise. Default: 1,024.
        pub fn max_clients(self, limit: usize) -> Self {
            self.settings.clients.limits.set_max_clients(limit);
            self
        }

        /// Sets the reaction to a new client when [`max_clients`](Self::max_clients) are served. Default:
        /// [`Full::Wait`](crate::Full::Wait).
        ///
        /// With [`Full::Refuse`](crate::Full::Refuse), the client gets a message and the end of the
        /// connection. This uses no thread, no adapter and no permanent descriptor, and it works if the client
        /// has already sent a request. The message is sent without waiting, so the part that does not fit into
        /// the send buffer of the socket is lost. A message of a few kilobytes fits. If the server encrypts
        /// its connections, the client gets only the end of the connection.
        /// [`ServerStats::refused`](crate::ServerStats::refused) counts these clients, and there is at most
        /// one warning in 10 s. A suspended server does not refuse clients: they wait.
        pub fn when_full(mut self, full: crate::Full) -> Self {
            self.settings.full = full;
            self
        }

        /// Sets which clients have threads. Default: [`Threads::PerClient`](crate::Threads::PerClient).
        ///
        /// With [`Threads::WhileBusy`](crate::Threads::WhileBusy), a client that waits for input has no thread. The
        /// guide describes [what changes](crate::guide::threads). On Windows, each client has a thread in any case, and
        /// a record at the info level says so.
        pub fn threads(mut self, threads: crate::Threads) -> Self {
            self.settings.threads = threads;
            self
        }

        /// Encrypts every connection with TLS. Needs the feature `tls`. Default: plain text.
        ///
        /// The handshake runs on the client's thread before [`opening`](crate::Adapter::opening), within the
        /// [`handshake_timeout`](Self::handshake_timeout). If it fails, the adapter is not created, and
        /// [`ServerStats::handshakes_failed`](crate::ServerStats::handshakes_failed) counts it.
        /// [`Client::tls`](crate::Client::tls) returns what the handshake has found out. Reads, writes, posts and
        /// closes mean the same as in plain text. [`tls::server_config`](crate::tls::server_config) makes a
        /// configuration from two files.
        #[cfg(feature = "tls")]
        pub fn tls(mut self, config: std::sync::Arc<rustls::ServerConfig>) -> Self {
            self.settings.tls = Some((config, crate::server::tls::Begin::AtOnce));
            self
        }

        /// Begins every connection in plain text, and lets a callback switch to TLS with
        /// [`Client::start_tls`](crate::Client::start_tls). Needs the feature `tls`. Default: plain text only.
        #[cfg(feature = "tls")]
        pub fn start_tls(mut self, config: std::sync::Arc<rustls::ServerConfig>) -> Self {
            self.settings.tls = Some((config, crate::server::tls::Begin::Later));
            self
        }
    };
}

/// The methods of a builder for the options of TCP. They use the field `options`, a
/// [`TcpOptions`](crate::server::listener::tcp::TcpOptions).
macro_rules! tcp_setters {
    () => {
        /// Sets whether small writes are sent at once (`TCP_NODELAY`), even if earlier data was not
        /// acknowledged yet. Default: true.
        pub fn nodelay(mut self, nodelay: bool) -> Self {
            self.options.nodelay = nodelay;
            self
        }

        /// Sets how soon a peer is noticed that has vanished, for example because its power failed. Default:
        /// 60 s.
        ///
        /// If a connection is silent for `time`, the system begins to probe the peer. A peer that has vanished
        /// ends as [`Lost`](crate::Closing::Lost) after about one and a half times `time`, and at the latest
        /// after twice `time`. On Linux and Android this is also true if output waits for the peer. There, a
        /// peer that reads nothing of the waiting output for that long also ends as `Lost`, even if it still
        /// exists. A pause of up to one and a half times `time` ends nothing. The guide lists the
        /// [other platforms](crate::guide::platforms).
        ///
        /// The time is in whole seconds, and a fraction is cut off. It is at least 1 s and at most 32,767 s,
        /// which is the limit of Linux ([tcp(7)]). Other values count as the nearest of these two. With a time
        /// of 1 or 2 s, a busy network can delay the end by a second, because the system's timers are not
        /// finer.
        ///
        /// With `None` the system does not check idle peers. A peer that has vanished while output waits for
        /// it then ends after the system's own time, which is about 15 minutes on Linux.
        ///
        /// [tcp(7)]: https://man7.org/linux/man-pages/man7/tcp.7.html
        pub fn keepalive(mut self, time: Option<std::time::Duration>) -> Self {
            self.options.keepalive = time;
            self
        }
    };
}

pub(crate) use {client_setters, listener_setters, tcp_setters};
