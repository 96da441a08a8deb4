//! The machine: what it has, how it runs, and the order in which it stops.
//!
//! The thread in [`Machine::run`] is the one reader of the control channel ([`crate::control`]) and
//! the only place that decides about shutdown. It holds no lock while it waits.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::adapter::Adapter;
use crate::control::{Event, Events, ServerId};
use crate::error::{Error, Result};
use crate::link::watcher::Watcher;
use crate::pool::Pool;
use crate::report::{self, report, Escaped};
use crate::running::Running;
use crate::scheduler::interval::Interval;
use crate::scheduler::time::ManualTime;
use crate::scheduler::{Command, Scheduler, Work};
use crate::server::core::ServerCore;
use crate::server::handle::ServerHandle;
use crate::server::stdio::StdioServer;
use crate::server::tcp::{TcpHandle, TcpServer};
use crate::server::{Control, Engine, Server};
use crate::stats::{MachineStats, ServerStats};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{unbounded, Receiver};
use crate::sync::Mutex;
use crate::threads::Threads;

/// Clients get this long to end gracefully, unless [`Machine::set_drain_timeout`] says otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// What aborted sockets and the last threads get after that.
const GRACE: Duration = Duration::from_millis(400);
/// What the log gets to catch up before `run` returns; after a stop that took all its time, at most
/// until half a second is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
const SECOND_GRACE: Duration = Duration::from_millis(450);
/// A limit that is safe to add to the clock.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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

/// What the machine's handles and its running thread share.
pub(crate) struct Hub {
    events: Events,
    /// Taken by `run`.
    receiver: Mutex<Option<Receiver<Event>>>,
    registry: Mutex<Registry>,
    engine: Engine,
    scheduler: Scheduler,
    drain_timeout: Mutex<Duration>,
    /// Set when the machine was told to stop or has stopped; read by whoever asks, and by the
    /// scheduler between jobs.
    stopped: Arc<AtomicBool>,
}

/// Written by those who prepare and by the running thread.
struct Registry {
    stage: Stage,
    ran: bool,
    servers: Vec<Arc<ServerCore>>,
    next: u64,
    had_server: bool,
    /// What the servers counted that have ended.
    past: ServerStats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prepared,
    Running,
    Stopping,
    Over,
}

struct Owner {
    hub: Arc<Hub>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.hub.stop();
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
        let (events, receiver) = unbounded();
        let threads = Threads::new();
        let engine = Engine {
            pool: Pool::new(Arc::clone(&threads)),
            watcher: Arc::new(Watcher::new(Arc::clone(&threads))),
            threads: Arc::clone(&threads),
        };
        let registry = Registry {
            stage: Stage::Prepared,
            ran: false,
            servers: Vec::new(),
            next: 0,
            had_server: false,
            past: ServerStats::default(),
        };
        let stopped = Arc::new(AtomicBool::new(false));
        let hub = Arc::new(Hub {
            scheduler: Scheduler::new(threads, events.clone(), Arc::clone(&stopped)),
            events,
            receiver: Mutex::new(Some(receiver)),
            registry: Mutex::new(registry),
            engine,
            drain_timeout: Mutex::new(DRAIN_TIMEOUT),
            stopped,
        });
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
        let core = self.hub.enter(short_name::<S>())?;
        // Present until its threads are: a server that starts none has ended when this drops.
        let presence = core.enter();
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

    /// Prepares a TCP server on every address that `address` resolves to, with the defaults of
    /// [`TcpServer`]. `factory` makes the adapter of each client, on that client's thread.
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
    /// [`Error::AlreadyRunning`], [`Error::AlreadyRan`]; [`Error::Thread`] if it could not begin;
    /// [`Error::Server`] if a server ended because its listener went bad; [`Error::Stuck`] if
    /// threads did not come back in time.
    pub fn run(&self) -> Result {
        self.hub.begin()?.run()
    }

    /// Runs the machine on a thread of its own, and returns. Dropping what it returns stops the
    /// machine and waits for it.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`], [`Error::AlreadyRan`], or [`Error::Thread`].
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

impl Hub {
    /// Enters a server into the registry.
    fn enter(&self, name: String) -> io::Result<Arc<ServerCore>> {
        let mut registry = self.registry.lock();
        if matches!(registry.stage, Stage::Stopping | Stage::Over) {
            return Err(io::Error::other("the machine has stopped, or is stopping"));
        }
        let core = ServerCore::new(ServerId(registry.next), name, self.events.clone());
        registry.next += 1;
        registry.servers.push(Arc::clone(&core));
        Ok(core)
    }

    /// Takes a server that has ended out of the registry.
    fn leave(&self, id: ServerId) -> Option<Arc<ServerCore>> {
        let mut registry = self.registry.lock();
        let index = registry.servers.iter().position(|server| server.id() == id)?;
        let server = registry.servers.remove(index);
        drop(registry);
        let stats = server.stats();
        self.registry.lock().past.add(&stats);
        Some(server)
    }

    fn servers(&self) -> Vec<Arc<ServerCore>> {
        self.registry.lock().servers.clone()
    }

    fn stop(&self) {
        self.tell(Event::Stop);
    }

    /// Sends word to the running thread, or stops a machine that doesn't run yet.
    fn tell(&self, event: Event) {
        self.stopped.store(true, Ordering::Release);
        let prepared = {
            let mut registry = self.registry.lock();
            let prepared = registry.stage == Stage::Prepared;
            if prepared {
                registry.stage = Stage::Over;
            }
            prepared
        };
        if prepared {
            self.let_go();
        } else {
            // No one listens once the machine has stopped.
            drop(self.events.send(event));
        }
    }

    /// Tells the threads to end that wait for work; the last one of all sends `ThreadsEnded`.
    fn send_home(&self) {
        self.engine.watcher.stop();
        self.engine.pool.close();
        let events = self.events.clone();
        // No one listens once the machine has given up on a stuck thread.
        self.engine.threads.close(move || drop(events.send(Event::ThreadsEnded)));
    }

    /// One line for each thread that is stuck: the client that it serves, or its name.
    fn describe(&self, threads: Vec<String>) -> Vec<String> {
        let clients = self.servers().into_iter().flat_map(|server| server.clients());
        let mut lines: Vec<String> = clients
            .map(|client| format!("the thread of client {} from {}", client.id(), client.remote()))
            .collect();
        let serves_client = |name: &String| name.starts_with("backport-worker-") || name == "backport-stdio";
        if lines.is_empty() {
            return threads;
        }
        lines.extend(threads.into_iter().filter(|name| !serves_client(name)));
        lines
    }

    /// Drops what a machine that never ran had prepared: listeners, factories, jobs.
    fn let_go(&self) {
        self.scheduler.stop();
        for server in self.servers() {
            server.stop();
        }
        self.engine.threads.close(|| ());
        let servers = std::mem::take(&mut self.registry.lock().servers);
        drop(servers);
        drop(self.receiver.lock().take());
    }

    /// Claims the run.
    fn begin(self: &Arc<Self>) -> Result<Run, Error> {
        let mut registry = self.registry.lock();
        match registry.stage {
            Stage::Prepared => registry.stage = Stage::Running,
            Stage::Running | Stage::Stopping => return Err(Error::AlreadyRunning),
            Stage::Over if registry.ran => return Err(Error::AlreadyRan),
            // Told to stop before it ran: then it has nothing to do.
            Stage::Over => {}
        }
        let runs = registry.stage == Stage::Running;
        registry.ran |= runs;
        drop(registry);
        // Whoever told it to stop may be about to let go of everything, the receiver last.
        let events = if runs { self.receiver.lock().take() } else { None };
        Ok(Run { hub: Arc::clone(self), events })
    }

    /// The running thread could not be had: as if the machine had never run.
    fn give_up(&self) {
        self.stopped.store(true, Ordering::Release);
        self.registry.lock().stage = Stage::Over;
        self.let_go();
    }
}

/// The running machine: the one reader of the control channel.
struct Run {
    hub: Arc<Hub>,
    events: Option<Receiver<Event>>,
}

impl Run {
    fn run(mut self) -> Result {
        let Some(events) = self.events.take() else { return Ok(()) };
        let hub = &*self.hub;
        let mut failure = None;
        let limit = match hub.engine.threads.open() {
            Ok(()) => self.watch(&events, &mut failure),
            Err((name, source)) => {
                failure = Some(Error::Thread { name, source });
                Duration::ZERO
            }
        };
        hub.stopped.store(true, Ordering::Release);
        hub.registry.lock().stage = Stage::Stopping;
        report!(Info, "the machine stops");
        let start = Instant::now();
        let stuck = self.drain(&events, limit, &mut failure);
        let left = {
            let mut registry = hub.registry.lock();
            registry.stage = Stage::Over;
            std::mem::take(&mut registry.servers)
        };
        drop(left);
        report!(Info, "the machine has stopped");
        let left = (limit.min(FOR_EVER) + SECOND_GRACE).saturating_sub(start.elapsed());
        report::flush(left.clamp(LAST_WORDS / 20, LAST_WORDS));
        match stuck.or(failure) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Reacts to events until it is time to stop; how long the stop may take.
    fn watch(&self, events: &Receiver<Event>, failure: &mut Option<Error>) -> Duration {
        while !self.is_done() {
            match events.recv() {
                Ok(Event::Stop) | Err(_) => break,
                Ok(Event::StopNow) => return Duration::ZERO,
                Ok(Event::ServerEnded(id)) => self.ended(id, failure),
                Ok(Event::JobEnded | Event::ThreadsEnded) => {}
            }
        }
        *self.hub.drain_timeout.lock()
    }

    /// Whether nothing is left that keeps the machine running: a server, or, where there never was
    /// one, an interval. From then on no server can be prepared.
    fn is_done(&self) -> bool {
        let jobs = self.hub.scheduler.pending();
        let mut registry = self.hub.registry.lock();
        let done = registry.servers.is_empty() && (registry.had_server || jobs == 0);
        if done {
            registry.stage = Stage::Stopping;
        }
        done
    }

    /// A server leaves the machine.
    fn ended(&self, id: ServerId, failure: &mut Option<Error>) {
        let Some(server) = self.hub.leave(id) else { return };
        let name = server.name();
        report!(Info, "server {} has ended", Escaped(&name));
        if let (Some(source), None) = (server.take_failure(), &failure) {
            *failure = Some(Error::Server { name, source });
        }
    }

    /// Stops everything: gracefully for `limit`, or until it is told to stop again, then at once.
    /// What is stuck after that is the error.
    fn drain(&self, events: &Receiver<Event>, limit: Duration, failure: &mut Option<Error>) -> Option<Error> {
        let (hub, start) = (&*self.hub, Instant::now());
        for server in hub.servers() {
            server.stop();
        }
        hub.scheduler.stop();
        let mut deadline = start + limit.min(FOR_EVER);
        let mut aborted = false;
        loop {
            if hub.servers().is_empty() {
                hub.send_home();
            }
            match events.recv_deadline(deadline) {
                Ok(Event::ServerEnded(id)) => self.ended(id, failure),
                Ok(Event::ThreadsEnded) => break,
                Ok(Event::JobEnded) => {}
                Ok(Event::Stop | Event::StopNow) if aborted => {}
                Err(_) if aborted => break,
                Ok(Event::Stop | Event::StopNow) | Err(_) => {
                    aborted = true;
                    deadline = Instant::now() + GRACE;
                    for server in hub.servers() {
                        server.abort();
                    }
                    hub.send_home();
                }
            }
        }
        let stuck = hub.engine.threads.join();
        if stuck.is_empty() {
            return None;
        }
        let threads = hub.describe(stuck);
        report!(Error, "stuck in user code: {}", Escaped(threads.join(", ")));
        Some(Error::Stuck { threads, waited: start.elapsed() })
    }
}

/// The server's name until it says another: the last part of its type's.
fn short_name<S>() -> String {
    let name = std::any::type_name::<S>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}
