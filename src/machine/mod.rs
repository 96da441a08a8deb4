//! The machine, as users see it.
//!
//! - [`shared`] is the state that the handles share with the thread in `run`.
//! - [`run`] is the code of that thread, which reads the [control channel](crate::event) and decides about
//!   shutdown.
//! - [`running`] is a machine that runs on its own thread.

mod run;
pub(crate) mod running;
mod shared;

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::error::Result;
use crate::machine::run::Run;
use crate::machine::shared::{MachineShared, Stage};
use crate::scheduler::interval::Interval;
use crate::scheduler::jobs::Jobs;
use crate::scheduler::Work;
use crate::server::connected::{Connected, ServeConnected};
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::stdio::StdioServer;
use crate::server::tcp::{TcpHandle, TcpServer};
#[cfg(unix)]
use crate::server::unix::{UnixHandle, UnixServer};
use crate::server::Server;
use crate::stats::MachineStats;
use crate::sync::atomic::Ordering;

/// Runs servers and intervals, and coordinates how they stop.
///
/// A clone is a handle of the same machine, and any thread may use it. A machine installs no signal handlers.
/// [`Backport::run`](crate::Backport::run) runs a machine and handles signals.
///
/// # Stopping
///
/// A machine stops when it is asked to, or when its last server has ended. A machine that never had a server
/// stops when its last interval has ended. A stop takes these steps:
///
/// 1. The listeners close, so new clients are refused. Intervals and timeouts are cancelled.
/// 2. The input of each client ends. A running callback finishes, and its output is delivered. Requests that
///    were received but not yet passed to a callback are dropped. Writes of other threads are accepted
///    until `closing` begins. A [`Hold`](crate::Hold) keeps its conversation open.
/// 3. [`closing`](Adapter::closing) is called with the reason [`Stopping`](crate::Closing::Stopping), and may
///    write a goodbye. The output is delivered.
/// 4. Every thread ends and is joined, and `run` returns.
///
/// After the drain timeout (5 s by default) or [`stop_now`](Machine::stop_now), the remaining sockets are
/// aborted. A thread that is stuck in user code cannot be killed. In that case, `run` returns an error that
/// names the thread's client.
///
/// A machine runs only once, and a second `run` is an error. If the machine was stopped before it ran, `run`
/// returns `Ok` at once.
///
/// Dropping the last handle also stops the machine. If the machine never ran, it releases everything that it
/// has bound. If a factory or a job holds a clone of its own machine, the last handle is never dropped. Call
/// `stop` to stop such a machine.
#[derive(Clone)]
pub struct Machine {
    shared: Arc<MachineShared>,
    /// Shared only by the user's handles, so it is dropped with the last handle.
    _owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<MachineShared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// Makes a machine without servers and intervals.
    #[must_use]
    pub fn new() -> Machine {
        let shared = MachineShared::new();
        let owner = Owner { shared: Arc::clone(&shared) };
        Machine { shared, _owner: Arc::new(owner) }
    }

    /// Prepares a server. It binds its sockets now, and begins to serve when the machine runs.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - An error of the server's [`prepare`](Server::prepare). An error about an address names the address.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the machine is stopping or has stopped.
    pub fn prepare<S: Server>(&self, server: S) -> io::Result<S::Handle> {
        self.prepare_one(server, true)
    }

    /// Prepares a server. During a drain, this is possible only for a server that does not listen.
    fn prepare_one<S: Server>(&self, server: S, listens: bool) -> io::Result<S::Handle> {
        let (state, guard) = self.shared.register(short_name::<S>(), listens)?;
        let prepared = server.prepare(Control::new(Arc::clone(&state), self.shared.engine.clone()));
        if prepared.is_ok() {
            self.shared.registry.lock().had_server = true;
        } else {
            self.shared.unregister(state.id());
            // The thread in `run` does not know this server any more, so nothing else ends its clients.
            state.discard();
        }
        // When this drops, a server that has started no thread has ended.
        drop(guard);
        prepared
    }

    /// Prepares a TCP server with the default settings of [`TcpServer`]. It listens on every address that
    /// `address` resolves to and that this computer has.
    ///
    /// `factory` makes the adapter of each client, on that client's thread.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - An error that names the address if the address cannot be resolved, or if the server cannot listen on
    ///   it.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the machine is stopping or has stopped.
    pub fn prepare_tcp_server<A: Adapter>(
        &self,
        address: impl ToSocketAddrs + fmt::Debug,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<TcpHandle> {
        self.prepare(TcpServer::new(address, factory))
    }

    /// Prepares a server on a Unix socket with the default settings of [`UnixServer`]. Only on Unix.
    ///
    /// The path must not exist yet, or it must be a socket that no server uses, which is replaced. The path is
    /// removed when the server stops. `factory` makes the adapter of each client, on that client's thread.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]. Except for the last one, each of these errors names the path:
    ///
    /// - An error of kind [`AddrInUse`](io::ErrorKind::AddrInUse) if another server uses the path, or if this
    ///   process may not find out.
    /// - An error of kind [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is something that is not a
    ///   socket.
    /// - An error of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if the path is too long for the system.
    ///   It names the limit, which is 107 bytes on Linux.
    /// - Another error of the operating system if the server cannot listen on the path.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the machine is stopping or has stopped.
    #[cfg(unix)]
    pub fn prepare_unix_server<A: Adapter>(
        &self,
        path: impl AsRef<std::path::Path>,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<UnixHandle> {
        self.prepare(UnixServer::new(path, factory))
    }

    /// Prepares a server on the standard input and output of this process. [`StdioServer`] describes it.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - An error of kind [`AddrInUse`](io::ErrorKind::AddrInUse) if the process already has such a server.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the machine is stopping or has stopped.
    pub fn prepare_stdio_server<A: Adapter>(
        &self,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<ServerHandle> {
        self.prepare(StdioServer::new(factory))
    }

    /// Serves one connection that the program itself has made or accepted. `stream` is a connected
    /// [`TcpStream`](std::net::TcpStream). Returns at once.
    ///
    /// The adapter runs on a worker thread, like the adapter of a [`TcpServer`]'s client, and with the same
    /// default limits. This may be called before the machine runs, while it runs, and from a callback. If the
    /// machine does not run yet, the conversation begins when it does.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{Shutdown, TcpListener, TcpStream};
    /// use backport::{receiving, Machine};
    ///
    /// # fn main() -> backport::Result {
    /// let listener = TcpListener::bind("localhost:0")?;
    /// let mut peer = TcpStream::connect(listener.local_addr()?)?;
    ///
    /// let machine = Machine::new();
    /// machine.serve(listener.accept()?.0, receiving(|client, data| Ok(client.write(data)?)))?;
    /// let running = machine.start()?;
    /// peer.write_all(b"hi")?;
    /// peer.shutdown(Shutdown::Write)?;
    /// let mut reply = String::new();
    /// peer.read_to_string(&mut reply)?;
    /// assert_eq!(reply, "hi");
    /// running.join()?; // The machine stops when its last conversation has ended.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # The server of the connection
    ///
    /// The connection counts as a server that ends with its conversation. The returned handle changes its limits
    /// and stops it. A stop of the machine ends the conversation as it ends that of any client. A
    /// [drain](Machine::drain) lets it continue, and a connection may still be added during a drain, because a
    /// client that is already connected may need it.
    ///
    /// **A machine stops when its last server has ended.** A machine whose only servers are such connections
    /// therefore stops with the last of them. If it has a server that stays, for example a [`TcpServer`], any
    /// number of connections may come and go.
    ///
    /// # Ownership
    ///
    /// The machine owns the stream, and closes it at the end of the conversation. The stream gets the options of
    /// the default [`TcpServer`]: no read timeout, `TCP_NODELAY`, and a keepalive time of 60 s. A clone from
    /// `TcpStream::try_clone` is the same socket. It must not read or write, and the connection is closed only
    /// after the clone has been dropped, too.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]. The stream is closed and the adapter dropped.
    ///
    /// - The error of the operating system if the stream is no longer connected or takes no options.
    /// - The error of the operating system if no thread can be started.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the machine is stopping or has stopped.
    pub fn serve<A: Adapter>(&self, stream: impl Into<Connected>, adapter: A) -> io::Result<ServerHandle> {
        self.prepare_one(ServeConnected { connected: stream.into(), adapter }, false)
    }

    /// Runs `job` every `period` until the interval is stopped, on the scheduler's thread.
    ///
    /// The first run comes one period from now, or one period after the machine starts if that is later. The
    /// rate is fixed and follows the monotonic clock, so it does not drift. Runs do not overlap, and runs
    /// that a slow job has missed are skipped. All intervals share one thread, so a slow job delays the
    /// others. If a job panics, the panic is logged and the job is cancelled.
    ///
    /// This may be called from any thread and any callback. It returns at once, also while a job runs. A job
    /// that is stopped leaves no memory behind.
    ///
    /// If `period` is too large for the clock, the job never runs. If the machine has already stopped, this
    /// returns an interval that is already stopped.
    ///
    /// [`testing::Clock`](crate::testing::Clock) lets a test run such a job without waiting.
    ///
    /// # Panics
    /// Panics if `period` is zero.
    pub fn prepare_interval(
        &self,
        period: Duration,
        job: impl FnMut(&Interval) + Send + 'static,
    ) -> Interval {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        self.shared.scheduler.add(Work::Every(period, Box::new(job)))
    }

    /// Runs `job` once on the scheduler's thread, unless the returned interval is stopped before. The job
    /// runs `delay` from now, or `delay` after the machine starts if that is later.
    ///
    /// This may be called from any thread and any callback. It returns at once, also while a job runs. A
    /// timeout that is stopped leaves no memory behind. If `delay` is too large for the clock, the job never
    /// runs. If the machine has already stopped, this drops `job` and returns an interval that is already
    /// stopped.
    pub fn prepare_timeout(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> Interval {
        self.shared.scheduler.add(Work::Once(delay, Some(Box::new(job))))
    }

    /// Replaces the clock of the jobs by a clock that a test moves. Returns `None` if the machine has begun
    /// to run.
    pub(crate) fn set_manual_time(&self) -> Option<Arc<Jobs>> {
        let prepared = self.shared.registry.lock().stage == Stage::Prepared;
        prepared.then(|| self.shared.scheduler.set_manual())
    }

    /// Runs the machine on this thread until it has stopped. Returns at once if nothing is prepared.
    ///
    /// # Errors
    /// Returns one of these [`Error`](crate::Error)s in a box:
    ///
    /// - `AlreadyRunning` or `AlreadyRan` if this is not the first run.
    /// - `Thread` if a prepared thread could not be started.
    /// - `Server` if the listener of a server became unusable, if the conversation of a [`StdioServer`] failed,
    ///   or if a [`TcpClient`](crate::TcpClient) without reconnects could not connect. This ended that server.
    /// - `Stuck` if a thread did not return from user code in time.
    pub fn run(&self) -> Result {
        Run::claim(&self.shared)?.run()
    }

    /// Stops the machine gracefully, as described [above](Machine#stopping). Returns at once, and may be
    /// called from any thread and any callback. A second call does nothing.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Stops the machine without waiting for peers. Returns at once. A second call does nothing.
    ///
    /// Sockets are aborted, and output that is not delivered yet is dropped. Running callbacks still finish,
    /// and `closing` is called for every client. If a graceful stop has begun, this ends it.
    pub fn stop_now(&self) {
        self.shared.stop_now();
    }

    /// Closes the listeners of all servers, and serves the clients until they end by themselves. After
    /// `limit`, stops the machine gracefully. Returns at once. A second call does nothing.
    ///
    /// The machine also stops when its last server has ended. Until then, intervals run as before. No more servers
    /// can be prepared, but [`serve`](Machine::serve) still adds connections. [`ServerHandle::drain`] does the same for one server, and describes a restart
    /// without losing a connection. If the machine does not run yet, it stops.
    pub fn drain(&self, limit: Duration) {
        self.shared.drain(limit);
    }

    /// Returns `true` if the machine was asked to stop or has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Sets how much time clients and callbacks have to end gracefully after a stop of the machine or of a
    /// server has begun. Changing it after that has no effect. Default: 5 s.
    ///
    /// Connections that are left after this time are aborted, and a warning names their clients.
    pub fn set_drain_timeout(&self, limit: Duration) {
        *self.shared.drain_timeout.lock() = limit;
    }

    /// Returns the servers that have not ended, in the order in which they were prepared.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.shared.servers().into_iter().map(ServerHandle::new).collect()
    }

    /// Returns how many clients its servers may have at once, in total.
    pub(crate) fn max_clients(&self) -> usize {
        let limits = self.shared.servers().into_iter().map(|server| server.limits().total_clients());
        limits.fold(0, usize::saturating_add)
    }

    /// Returns the statistics of this machine and its servers.
    #[must_use]
    pub fn stats(&self) -> MachineStats {
        let (servers, past) = {
            let registry = self.shared.registry.lock();
            (registry.servers.clone(), registry.past)
        };
        let mut clients = past;
        for server in &servers {
            clients.add(&server.stats());
        }
        MachineStats {
            servers: servers.len(),
            intervals: self.shared.scheduler.pending(),
            threads: self.shared.engine.threads.count(),
            clients,
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("servers", &self.servers())
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

/// Returns the initial name of a server, which is the last part of the name of its type.
fn short_name<S>() -> String {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}
