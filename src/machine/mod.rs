//! The machine: its handle, for the user.
//!
//! - [`shared`] is the state that all handles share with the thread in `run`.
//! - [`run`] is that thread: it reads the [control channel](crate::event) and decides about shutdown.
//! - [`running`] is a machine that runs on a thread of its own.

mod run;
pub(crate) mod running;
mod shared;

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::adapter::Adapter;
use crate::error::Result;
use crate::event::Event;
use crate::machine::run::Run;
use crate::machine::shared::{MachineShared, Stage};
use crate::scheduler::interval::Interval;
use crate::scheduler::time::ManualTime;
use crate::scheduler::{Command, Work};
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::stdio::StdioServer;
use crate::server::tcp::{TcpHandle, TcpServer};
use crate::server::Server;
use crate::stats::MachineStats;
use crate::sync::atomic::Ordering;

/// Runs servers and intervals, and coordinates their end.
///
/// A clone is the same machine, and any thread may use it. A machine installs no signal handler;
/// [`Backport::run`](crate::Backport::run) does that around one.
///
/// # Stopping
///
/// A machine stops when it is asked to, or when its last server has ended. A machine that never had a server
/// stops when its last interval has ended. The stop takes these steps, in this order:
///
/// 1. The listeners close, so new clients are refused. Intervals are cancelled.
/// 2. Running callbacks finish.
/// 3. Each client is closed like by [`Client::close`](crate::Client::close), with the reason
///    [`Stopping`](crate::Closing::Stopping). Its `closing` may still write a goodbye.
/// 4. Every thread ends and is joined, and `run` returns.
///
/// After the drain timeout (5 s) or a second stop, the remaining sockets are aborted. A thread that is stuck
/// in user code cannot be killed. `run` then returns an error that names it.
///
/// A machine runs once. A second `run` is an error. A `run` after a stop returns `Ok` at once.
///
/// The drop of the last handle is a stop. If the machine never ran, it then releases everything that it has
/// bound. A factory or a job that holds a clone of its own machine prevents this drop. Call `stop` to end
/// such a machine.
#[derive(Clone)]
pub struct Machine {
    shared: Arc<MachineShared>,
    /// Shared only by the user's handles, so its drop is the drop of the last handle.
    _owner: Arc<Owner>,
}

struct Owner {
    shared: Arc<MachineShared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop_once();
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

    /// Prepares a server. It binds its sockets now, and serves as soon as the machine runs.
    ///
    /// # Errors
    /// - The error that keeps the server from running. An error about an address names the address.
    /// - If the machine is stopping or has stopped.
    pub fn prepare<S: Server>(&self, server: S) -> io::Result<S::Handle> {
        let (state, guard) = self.shared.register(short_name::<S>())?;
        let prepared = server.prepare(Control::new(Arc::clone(&state), self.shared.engine.clone()));
        if prepared.is_ok() {
            self.shared.registry.lock().had_server = true;
        } else {
            self.shared.unregister(state.id());
            state.close_listeners();
            // The thread in `run` does not know this server any more, so nothing else ends its clients.
            state.end_clients();
        }
        // A server that has started no thread has ended when this drops.
        drop(guard);
        prepared
    }

    /// Prepares a TCP server with the defaults of [`TcpServer`]. It listens on every address that `address`
    /// resolves to and that this computer has.
    ///
    /// `factory` makes the adapter of each client, on that client's thread.
    ///
    /// # Errors
    /// - If the address does not resolve, or if nothing can listen on it. The error names the address.
    /// - If the machine is stopping or has stopped.
    pub fn prepare_tcp_server<A: Adapter>(
        &self,
        address: impl ToSocketAddrs + fmt::Debug,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<TcpHandle> {
        self.prepare(TcpServer::new(address, factory))
    }

    /// Prepares a server on the process's own standard input and output. [`StdioServer`] describes it.
    ///
    /// # Errors
    /// - If the process has such a server already.
    /// - If the machine is stopping or has stopped.
    pub fn prepare_stdio_server<A: Adapter>(
        &self,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<ServerHandle> {
        self.prepare(StdioServer::new(factory))
    }

    /// Runs `job` every `period` until the interval is stopped, on the scheduler's thread.
    ///
    /// The first run comes one period from now, or one period after the machine begins to run. The rate is
    /// fixed on the monotonic clock: it does not drift, and runs do not overlap. Runs that a slow job has
    /// missed are skipped. All intervals share one thread, so a slow job delays the others. A job that
    /// panics is logged and cancelled.
    ///
    /// If the period is too large for the clock, the job never runs. If the machine has already stopped,
    /// this returns an interval that is already stopped.
    ///
    /// [`testing::Clock`](crate::testing::Clock) lets a test run such a job without waiting.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn prepare_interval(
        &self,
        period: Duration,
        job: impl FnMut(&Interval) + Send + 'static,
    ) -> Interval {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        self.shared.scheduler.add(Work::Every(period, Box::new(job)))
    }

    /// Runs `job` once on the scheduler's thread, unless it is stopped before. It runs `delay` from now, or
    /// `delay` after the machine begins to run.
    pub fn prepare_timeout(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> Interval {
        self.shared.scheduler.add(Work::Once(delay, Some(Box::new(job))))
    }

    /// Lets the jobs follow a time that a test moves. Returns `None` if the machine has begun to run.
    pub(crate) fn set_manual_time(&self) -> Option<(Arc<ManualTime>, Sender<Command>)> {
        let prepared = self.shared.registry.lock().stage == Stage::Prepared;
        prepared.then(|| self.shared.scheduler.set_manual())
    }

    /// Runs the machine on this thread until it has stopped. Returns at once if nothing is prepared.
    ///
    /// # Errors
    /// An [`Error`](crate::Error):
    ///
    /// - `AlreadyRunning` or `AlreadyRan` if this is not the first run.
    /// - `Thread` if a prepared thread could not be started.
    /// - `Server` if a server has ended because its listener became unusable.
    /// - `Stuck` if a thread did not return from user code in time.
    pub fn run(&self) -> Result {
        Run::claim(&self.shared)?.run()
    }

    /// Stops the machine gracefully, as described [above](Machine#stopping). Returns at once, and may be
    /// called from anywhere. A second call acts like [`stop_now`](Machine::stop_now).
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Stops the machine like [`stop`](Machine::stop), unless it was stopped before.
    pub(crate) fn stop_once(&self) {
        self.shared.stop_once();
    }

    /// Stops the machine without waiting for peers. Returns at once.
    ///
    /// Sockets are aborted, and output that is not delivered yet is dropped. Running callbacks still finish,
    /// and every `closing` is called.
    pub fn stop_now(&self) {
        self.shared.send(Event::StopNow);
    }

    /// Returns `true` if the machine was asked to stop or has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Sets how long clients and callbacks get to end gracefully, from the moment of the stop. A change after
    /// the stop has begun has no effect. Default: 5 s.
    pub fn set_drain_timeout(&self, limit: Duration) {
        *self.shared.drain_timeout.lock() = limit;
    }

    /// Returns the servers that have not ended, in the order in which they were prepared.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.shared.servers().into_iter().map(ServerHandle::new).collect()
    }

    /// Returns the figures of this machine and its servers.
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

/// Returns the first name of a server: the last part of the name of its type.
fn short_name<S>() -> String {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}
