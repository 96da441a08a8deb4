//! What a machine's handles and its running thread share: its servers, its threads, its jobs, and
//! whether it runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Event, Events, ServerId};
use crate::error::Error;
use crate::link::watcher::Watcher;
use crate::machine::run::Run;
use crate::pool::Pool;
use crate::scheduler::Scheduler;
use crate::server::core::{Presence, ServerCore};
use crate::server::Engine;
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{unbounded, Receiver};
use crate::sync::Mutex;
use crate::threads::Threads;

/// Clients get this long to end gracefully, unless [`Machine::set_drain_timeout`] says otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the machine's handles and its running thread share.
pub(super) struct Hub {
    pub(super) events: Events,
    /// Taken by `run`.
    pub(super) receiver: Mutex<Option<Receiver<Event>>>,
    pub(super) registry: Mutex<Registry>,
    pub(super) engine: Engine,
    pub(super) scheduler: Scheduler,
    pub(super) drain_timeout: Mutex<Duration>,
    /// Set when the machine was told to stop or has stopped; read by whoever asks, and by the
    /// scheduler between jobs.
    pub(super) stopped: Arc<AtomicBool>,
}

/// Written by those who prepare and by the running thread.
pub(super) struct Registry {
    pub(super) stage: Stage,
    pub(super) ran: bool,
    pub(super) servers: Vec<Arc<ServerCore>>,
    pub(super) next: u64,
    pub(super) had_server: bool,
    /// What the servers counted that have ended.
    pub(super) past: ServerStats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Prepared,
    Running,
    Stopping,
    Over,
}

impl Hub {
    pub(super) fn new() -> Arc<Hub> {
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
        Arc::new(Hub {
            scheduler: Scheduler::new(threads, events.clone(), Arc::clone(&stopped)),
            events,
            receiver: Mutex::new(Some(receiver)),
            registry: Mutex::new(registry),
            engine,
            drain_timeout: Mutex::new(DRAIN_TIMEOUT),
            stopped,
        })
    }

    /// Enters a server into the registry, with the presence of the thread that prepares it: before
    /// anyone can stop it, so that its end is told in any case.
    pub(super) fn enter(&self, name: String) -> io::Result<(Arc<ServerCore>, Presence)> {
        let stopping = || io::Error::other("the machine has stopped, or is stopping");
        let mut registry = self.registry.lock();
        if matches!(registry.stage, Stage::Stopping | Stage::Over) {
            return Err(stopping());
        }
        let core = ServerCore::new(ServerId(registry.next), name, self.events.clone());
        let presence = core.enter().ok_or_else(stopping)?;
        registry.next += 1;
        registry.servers.push(Arc::clone(&core));
        Ok((core, presence))
    }

    /// Takes a server that has ended, which counts no more, out of the registry.
    pub(super) fn leave(&self, id: ServerId) -> Option<Arc<ServerCore>> {
        let server = self.servers().into_iter().find(|server| server.id() == id)?;
        let stats = server.stats();
        let mut registry = self.registry.lock();
        // At once: whoever asks finds it in one place or the other.
        registry.servers.retain(|other| other.id() != id);
        registry.past.add(&stats);
        drop(registry);
        Some(server)
    }

    pub(super) fn servers(&self) -> Vec<Arc<ServerCore>> {
        self.registry.lock().servers.clone()
    }

    pub(super) fn stop(&self) {
        self.tell(Event::Stop);
    }

    /// Stops the machine unless that was done: a second stop would be a hard one.
    pub(super) fn stop_once(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            self.stop();
        }
    }

    /// Sends word to the running thread, or stops a machine that doesn't run yet.
    pub(super) fn tell(&self, event: Event) {
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
    pub(super) fn send_home(&self) {
        self.engine.watcher.stop();
        self.engine.pool.close();
        let events = self.events.clone();
        // No one listens once the machine has given up on a stuck thread.
        self.engine.threads.close(move || drop(events.send(Event::ThreadsEnded)));
    }

    /// One line for each thread that is stuck: the client that it serves, or its name.
    pub(super) fn describe(&self, threads: Vec<String>) -> Vec<String> {
        let clients = self.servers().into_iter().flat_map(|server| server.clients());
        let mut lines: Vec<String> = clients
            .map(|client| format!("the thread of client {} from {}", client.id(), client.remote()))
            .collect();
        let serves_client = |name: &String| {
            name.starts_with("backport-worker-") || name == "backport-stdio" || name == "backport-memory"
        };
        if lines.is_empty() {
            return threads;
        }
        lines.extend(threads.into_iter().filter(|name| !serves_client(name)));
        lines
    }

    /// Drops what a machine that never ran had prepared: listeners, factories, jobs.
    pub(super) fn let_go(&self) {
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
    pub(super) fn begin(self: &Arc<Self>) -> Result<Run, Error> {
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
    pub(super) fn give_up(&self) {
        self.stopped.store(true, Ordering::Release);
        self.registry.lock().stage = Stage::Over;
        self.let_go();
    }
}
