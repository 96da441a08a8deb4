//! The machine: what it has, how it runs, and the order in which it stops.
//!
//! - [`hub`] is what its handles and its running thread share.
//! - [`run`] is the running thread, the one reader of the control channel ([`crate::control`]) and the
//!   only place that decides about shutdown.

mod hub;
mod run;

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::adapter::Adapter;
use crate::control::Event;
use crate::error::Result;
use crate::machine::hub::{Hub, Stage};
use crate::running::Running;
use crate::scheduler::interval::Interval;
use crate::scheduler::time::ManualTime;
use crate::scheduler::{Command, Work};
use crate::server::handle::ServerHandle;
use crate::server::stdio::StdioServer;
use crate::server::tcp::{TcpHandle, TcpServer};
use crate::server::{Control, Server};
use crate::stats::MachineStats;
use crate::sync::atomic::Ordering;

/// Runs servers and intervals, and coordinates their end.
///
/// Cloneable: every clone is the same machine, and any thread may use it. It installs no signal
/// handler; [`Backport::run`](crate::Backport::run) does that around one.
///
/// # Stopping
///
/// A machine stops when it is told to, or when its last server has stopped. (One that never had a
/// server stops when its last interval has.) Then, in this order: listeners close, so that new
/// clients are refused; intervals are cancelled; callbacks that run run to their end; each client is
/// closed as by [`Client::close`](crate::Client::close), with the reason
/// [`Stopping`](crate::Closing::Stopping), and its `closing` may still write a goodbye; every thread
/// is joined; `run` returns. After the drain timeout (5 s) or a second stop, the sockets that are
/// left are aborted. A thread that is stuck in user code cannot be killed: `run` then returns an
/// error that says which.
///
/// A machine runs once. `run` again is an error; `run` after a stop returns `Ok` at once. Dropping
/// the last handle of a machine is a stop; one that never ran lets go of all that it had bound. (A
/// factory or job that holds a clone of its own machine keeps that from happening; it is `stop`
/// that ends such a machine.)
#[derive(Clone)]
pub struct Machine {
    hub: Arc<Hub>,
    /// Shared by the user's handles alone: its drop is the last handle's.
    _owner: Arc<Owner>,
}

struct Owner {
    hub: Arc<Hub>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.hub.stop_once();
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// A machine with nothing on it.
    #[must_use]
    pub fn new() -> Machine {
        let hub = Hub::new();
        let owner = Owner { hub: Arc::clone(&hub) };
        Machine { hub, _owner: Arc::new(owner) }
    }

    /// Puts a server on the machine: it binds now, and serves from when the machine runs, which may
    /// be now.
    ///
    /// # Errors
    /// What keeps the server from running; errors about an address name it. Also if the machine has
    /// stopped.
    pub fn prepare<S: Server>(&self, server: S) -> io::Result<S::Handle> {
        // Present until its threads are: a server that starts none has ended when this drops.
        let (core, presence) = self.hub.enter(short_name::<S>())?;
        let prepared = server.prepare(Control::new(Arc::clone(&core), self.hub.engine.clone()));
        if prepared.is_ok() {
            self.hub.registry.lock().had_server = true;
        } else {
            self.hub.leave(core.id());
            core.stop();
        }
        drop(presence);
        prepared
    }

    /// Prepares a TCP server on every address that `address` resolves to and this computer has, with
    /// the defaults of [`TcpServer`]. `factory` makes the adapter of each client, on that client's thread.
    ///
    /// # Errors
    /// If the address doesn't resolve or can't be listened on; the error names it.
    pub fn prepare_tcp_server<A: Adapter>(
        &self,
        address: impl ToSocketAddrs + fmt::Debug,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<TcpHandle> {
        self.prepare(TcpServer::new(address, factory))
    }

    /// Prepares a server on the process's own standard input and output; see [`StdioServer`].
    ///
    /// # Errors
    /// If there is one in the process already.
    pub fn prepare_stdio_server<A: Adapter>(
        &self,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> io::Result<ServerHandle> {
        self.prepare(StdioServer::new(factory))
    }

    /// Runs `job` every `period`, on the scheduler's thread, from one period after now (or after the
    /// machine begins to run) until it is stopped.
    ///
    /// The rate is fixed, on the monotonic clock: no drift, no overlap, and ticks that a slow job has
    /// missed are skipped. All intervals share one thread, so a slow job delays the others. A job
    /// that panics is logged and cancelled. A period beyond the clock's range never ticks. On a
    /// machine that has stopped, the interval is stopped.
    ///
    /// [`testing::Clock`](crate::testing::Clock) tests what it does without waiting for it.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn prepare_interval(
        &self,
        period: Duration,
        job: impl FnMut(&Interval) + Send + 'static,
    ) -> Interval {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        self.hub.scheduler.add(Work::Every(period, Box::new(job)))
    }

    /// Runs `job` once, on the scheduler's thread, `delay` after now (or after the machine begins to
    /// run), unless it is stopped before.
    pub fn prepare_timeout(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> Interval {
        self.hub.scheduler.add(Work::Once(delay, Some(Box::new(job))))
    }

    /// Lets the jobs go by a time that is moved by hand. `None` once the machine has begun to run.
    pub(crate) fn set_manual_time(&self) -> Option<(Arc<ManualTime>, Sender<Command>)> {
        let prepared = self.hub.registry.lock().stage == Stage::Prepared;
        prepared.then(|| self.hub.scheduler.set_manual())
    }

    /// Runs the machine on this thread until it has stopped. With nothing prepared it returns at
    /// once.
    ///
    /// # Errors
    /// An [`Error`](crate::Error): `AlreadyRunning`, `AlreadyRan`; `Thread` if it could not begin;
    /// `Server` if a server ended because its listener went bad; `Stuck` if threads did not come back
    /// in time.
    pub fn run(&self) -> Result {
        self.hub.begin()?.run()
    }

    /// Runs the machine on a thread of its own, and returns. Dropping what it returns stops the
    /// machine and waits for it.
    ///
    /// # Errors
    /// An [`Error`](crate::Error): `AlreadyRunning`, `AlreadyRan`, or `Thread`.
    pub fn start(&self) -> Result<Running> {
        let run = self.hub.begin()?;
        Running::start(self.clone(), move || run.run())
            .inspect_err(|_| self.hub.give_up())
            .map_err(Into::into)
    }

    /// Stops the machine gracefully, as [above](Machine#stopping). Returns at once, and may be called
    /// from anywhere. A second call is a [`stop_now`](Machine::stop_now).
    pub fn stop(&self) {
        self.hub.stop();
    }

    /// Stops it unless that was done. As [`stop`](Machine::stop), which is a hard stop then.
    pub(crate) fn stop_once(&self) {
        self.hub.stop_once();
    }

    /// Stops the machine without waiting for its peers: sockets are aborted, what is not delivered
    /// yet is dropped. Callbacks that run still run to their end, and every `closing` is called.
    /// Returns at once.
    pub fn stop_now(&self) {
        self.hub.tell(Event::StopNow);
    }

    /// Whether it was told to stop, or has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.hub.stopped.load(Ordering::Acquire)
    }

    /// Sets how long clients and callbacks get to end gracefully, from the moment of the stop.
    /// Default: 5 s. A change counts until the stop begins.
    pub fn set_drain_timeout(&self, limit: Duration) {
        *self.hub.drain_timeout.lock() = limit;
    }

    /// The servers that have not ended, in the order in which they were prepared.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerHandle> {
        self.hub.servers().into_iter().map(ServerHandle::new).collect()
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> MachineStats {
        let (servers, past) = {
            let registry = self.hub.registry.lock();
            (registry.servers.clone(), registry.past)
        };
        let mut clients = past;
        for server in &servers {
            clients.add(&server.stats());
        }
        MachineStats {
            servers: servers.len(),
            intervals: self.hub.scheduler.pending(),
            threads: self.hub.engine.threads.count(),
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

/// The server's name until it says another: the last part of its type's.
fn short_name<S>() -> String {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}
