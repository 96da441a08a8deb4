//! The state that a machine's handles share with the thread in `run`: the servers, threads, jobs and stage of
//! the machine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Events, ServerId};
use crate::scheduler::Scheduler;
use crate::server::control::Engine;
use crate::server::permit::ActiveGuard;
use crate::server::state::ServerState;
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::channel::{unbounded, Receiver};
use crate::sync::Mutex;
use crate::threads::MachineThreads;

/// How much time clients have to end gracefully. `Machine::set_drain_timeout` changes it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

const NOTHING: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;
const STOP_NOW: u8 = 3;

/// The state that all handles of one machine share.
pub(super) struct MachineShared {
    pub(super) events: Events,
    /// Taken by `run`.
    pub(super) receiver: Mutex<Option<Receiver<Event>>>,
    pub(super) registry: Mutex<ServerRegistry>,
    pub(super) engine: Engine,
    pub(super) scheduler: Scheduler,
    /// Written by `set_drain_timeout`, read by `run` when the stop begins.
    pub(super) drain_timeout: Mutex<Duration>,
    /// The largest request so far. Written by the thread that asks, so that a call that repeats an
    /// earlier one sends nothing.
    asked: AtomicU8,
    /// `true` if the machine was asked to stop or has stopped. Set by the thread that asks for the stop. Read
    /// by the scheduler between jobs, and by `Machine::is_stopped`.
    pub(super) stopping: Arc<AtomicBool>,
}

/// Written under the lock by threads that prepare a server and by the thread in `run`.
pub(super) struct ServerRegistry {
    pub(super) stage: Stage,
    pub(super) ran: bool,
    pub(super) servers: Vec<Arc<ServerState>>,
    next: u64,
    pub(super) had_server: bool,
    /// The machine drains, so no more servers can be prepared.
    pub(super) draining: bool,
    /// The statistics of servers that have ended.
    pub(super) past: ServerStats,
}

/// The stages of a machine, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Prepared,
    Running,
    Stopping,
    Stopped,
}

impl MachineShared {
    pub(super) fn new() -> Arc<MachineShared> {
        let (events, receiver) = unbounded();
        let threads = MachineThreads::new();
        let engine = Engine::new(Arc::clone(&threads));
        let registry = ServerRegistry {
            stage: Stage::Prepared,
            ran: false,
            servers: Vec::new(),
            next: 0,
            had_server: false,
            draining: false,
            past: ServerStats::default(),
        };
        let stopping = Arc::new(AtomicBool::new(false));
        Arc::new(MachineShared {
            scheduler: Scheduler::new(threads, events.clone(), Arc::clone(&stopping)),
            events,
            receiver: Mutex::new(Some(receiver)),
            registry: Mutex::new(registry),
            engine,
            drain_timeout: Mutex::new(DRAIN_TIMEOUT),
            asked: AtomicU8::new(NOTHING),
            stopping,
        })
    }

    /// Registers a server, with a guard for the thread that prepares it. From then on the server can be
    /// stopped, and its end is always reported. During a drain, only a server without a listener may begin.
    pub(super) fn register(
        &self,
        name: String,
        listens: bool,
    ) -> io::Result<(Arc<ServerState>, ActiveGuard)> {
        let stopping = || io::Error::other("the machine is stopping or has stopped");
        let mut registry = self.registry.lock();
        if (registry.draining && listens) || matches!(registry.stage, Stage::Stopping | Stage::Stopped) {
            return Err(stopping());
        }
        let server = ServerState::new(ServerId(registry.next), name, self.events.clone());
        let guard = ActiveGuard::take(&server).ok_or_else(stopping)?;
        registry.next += 1;
        registry.servers.push(Arc::clone(&server));
        Ok((server, guard))
    }

    /// Removes a server that has ended from the registry.
    pub(super) fn unregister(&self, id: ServerId) -> Option<Arc<ServerState>> {
        let server = self.server(id)?;
        let stats = server.stats();
        let mut registry = self.registry.lock();
        // Both happen under one lock, so that a thread that asks for statistics finds them in exactly one place.
        registry.servers.retain(|other| other.id() != id);
        registry.past.add(&stats);
        drop(registry);
        Some(server)
    }

    pub(super) fn servers(&self) -> Vec<Arc<ServerState>> {
        self.registry.lock().servers.clone()
    }

    pub(super) fn server(&self, id: ServerId) -> Option<Arc<ServerState>> {
        self.servers().into_iter().find(|server| server.id() == id)
    }

    /// Asks for a drain. A second call does nothing.
    pub(super) fn drain(&self, limit: Duration) {
        if self.raise(DRAIN) {
            self.send(Event::Drain(limit));
        }
    }

    /// Asks for a graceful stop. A second call does nothing.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if self.raise(STOP) {
            self.send(Event::Stop);
        }
    }

    /// Asks for a stop that aborts the clients. A second call does nothing.
    pub(super) fn stop_now(&self) {
        self.stopping.store(true, Ordering::Release);
        if self.raise(STOP_NOW) {
            self.send(Event::StopNow);
        }
    }

    fn raise(&self, level: u8) -> bool {
        self.asked.fetch_max(level, Ordering::AcqRel) < level
    }

    /// Sends an event to the thread in `run`. If the machine does not run yet, it stops here.
    fn send(&self, event: Event) {
        let prepared = {
            let mut registry = self.registry.lock();
            let prepared = registry.stage == Stage::Prepared;
            if prepared {
                registry.stage = Stage::Stopped;
            }
            prepared
        };
        if prepared {
            self.stopping.store(true, Ordering::Release);
            self.release();
        } else {
            // After the machine has stopped, the receiver no longer exists.
            drop(self.events.send(event));
        }
    }

    /// Ends the threads that wait for work. The last thread of all sends `ThreadsEnded`.
    pub(super) fn stop_threads(&self) {
        let events = self.events.clone();
        // If the machine has given up on a stuck thread, the receiver no longer exists.
        self.engine.threads.close(move || drop(events.send(Event::ThreadsEnded)));
        self.engine.pool.end_parked();
        self.engine.reactor.stop();
    }

    /// Drops everything that was prepared on a machine that never ran: listeners, factories and jobs.
    pub(super) fn release(&self) {
        self.scheduler.stop();
        for server in self.servers() {
            server.close_listeners();
        }
        self.engine.threads.close(|| ());
        let servers = std::mem::take(&mut self.registry.lock().servers);
        // The user may keep handles of them.
        servers.iter().for_each(|server| server.give_up());
        drop(servers);
        drop(self.receiver.lock().take());
    }

    /// Acts as if the machine had never run, because its thread could not be started.
    pub(super) fn give_up(&self) {
        self.stopping.store(true, Ordering::Release);
        self.registry.lock().stage = Stage::Stopped;
        self.release();
    }
}
