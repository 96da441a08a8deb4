//! The state of one server: who is there, what it counted, and how it ends.
//!
//! A server has ended when nobody is *present* any more: no thread of its own, and no client. Each
//! of them holds a [`Presence`] or a [`Seat`], whose drop says so, whatever happens. A seat is taken
//! when a connection is accepted, and its client sits down in it when a worker has taken it over.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{bounded, Receiver, Sender};

use crate::client::{Client, ClientId};
use crate::closing::Closing;
use crate::control::{Event, Events, ServerId};
use crate::fence::fence;
use crate::limits::Limits;
use crate::report::{report, Escaped, Limiter};
use crate::server::bell::Bell;
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::Mutex;

/// One server, as all who have to do with it share it.
pub(crate) struct ServerCore {
    id: ServerId,
    name: Mutex<String>,
    limits: Arc<Limits>,
    events: Events,
    registry: Mutex<Registry>,
    end: Mutex<End>,
    /// `End::sender` is gone, to be read without the lock.
    stopping: AtomicBool,
    stopped: Receiver<()>,
    /// Set by `ServerHandle::suspend` and `resume`, read by the acceptor.
    suspended: AtomicBool,
    /// Rung by whoever changes what acceptors wait for: a place, the end of a suspension, the stop.
    pub(crate) bell: Bell,
    /// How many acceptors there are, the last of which will close the clients once its listener is
    /// closed. Counted by `Listening`.
    listening: AtomicUsize,
    /// Counted up by the acceptor and by workers, read by whoever asks for figures.
    pub(crate) counters: Counters,
    pub(crate) warnings: Limiter,
}

/// Written by the acceptor (seats taken), by workers (seats given back) and by whoever stops.
#[derive(Default)]
struct Registry {
    clients: BTreeMap<ClientId, Client>,
    /// No seat is given any more.
    closed: bool,
    /// Seats that are out: the clients, and those on their way from the acceptor to a worker.
    seats: usize,
    /// Presences and seats that are out.
    present: usize,
    /// An acceptor waits for a seat.
    waiting: bool,
    accepted: u64,
    peak: usize,
    /// The bytes of those that are gone.
    bytes_in: u64,
    bytes_out: u64,
}

/// Written by whoever stops the server.
struct End {
    /// Dropped to say that the server shall stop.
    sender: Option<Sender<()>>,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
    failure: Option<io::Error>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) refused: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    panics: AtomicU64,
    failures: AtomicU64,
    idle_timeouts: AtomicU64,
    too_slow: AtomicU64,
}

impl ServerCore {
    pub(crate) fn new(id: ServerId, name: String, events: Events) -> Arc<ServerCore> {
        let (sender, stopped) = bounded(0);
        Arc::new(ServerCore {
            id,
            name: Mutex::new(name),
            limits: Arc::default(),
            events,
            registry: Mutex::default(),
            end: Mutex::new(End { sender: Some(sender), hooks: Vec::new(), failure: None }),
            stopping: AtomicBool::new(false),
            stopped,
            suspended: AtomicBool::new(false),
            bell: Bell::default(),
            listening: AtomicUsize::new(0),
            counters: Counters::default(),
            warnings: Limiter::default(),
        })
    }

    pub(crate) fn id(&self) -> ServerId {
        self.id
    }

    pub(crate) fn name(&self) -> String {
        self.name.lock().clone()
    }

    pub(crate) fn set_name(&self, name: String) {
        *self.name.lock() = name;
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn clients(&self) -> Vec<Client> {
        self.registry.lock().clients.values().cloned().collect()
    }

    pub(crate) fn client_count(&self) -> usize {
        self.registry.lock().clients.len()
    }

    /// Counts the calling thread in, until the presence drops. `None` once the server stops.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Presence> {
        let mut registry = self.registry.lock();
        if registry.closed || self.is_stopping() {
            return None;
        }
        registry.present += 1;
        drop(registry);
        Some(Presence { core: Arc::clone(self) })
    }

    /// Takes a seat for one more client, until it drops. `None` while all are taken (the bell rings
    /// when one is free), or once the server has closed its clients.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let mut registry = self.registry.lock();
        if registry.closed || !registry.has_room(&self.limits) {
            return None;
        }
        registry.present += 1;
        registry.seats += 1;
        drop(registry);
        Some(Seat { core: Arc::clone(self), client: None })
    }

    /// Whether one more client may come. If not, the bell rings when one may.
    pub(crate) fn has_room(&self) -> bool {
        self.registry.lock().has_room(&self.limits)
    }

    /// Counts how a client ended.
    pub(crate) fn count(&self, reason: &Closing) {
        let counter = match reason {
            Closing::Panicked(_) => &self.counters.panics,
            Closing::Failed(_) => &self.counters.failures,
            Closing::Idle => &self.counters.idle_timeouts,
            Closing::TooSlow => &self.counters.too_slow,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let (mut stats, clients) = {
            let registry = self.registry.lock();
            let stats = ServerStats {
                accepted: registry.accepted,
                current: registry.clients.len(),
                peak: registry.peak,
                bytes_in: registry.bytes_in,
                bytes_out: registry.bytes_out,
                ..ServerStats::default()
            };
            (stats, registry.clients.values().cloned().collect::<Vec<_>>())
        };
        for client in clients {
            let client = client.stats();
            stats.bytes_in += client.bytes_in;
            stats.bytes_out += client.bytes_out;
            stats.backlog += client.backlog;
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.refused = read(&self.counters.refused);
        stats.accept_errors = read(&self.counters.accept_errors);
        stats.panics = read(&self.counters.panics);
        stats.failures = read(&self.counters.failures);
        stats.idle_timeouts = read(&self.counters.idle_timeouts);
        stats.too_slow = read(&self.counters.too_slow);
        stats
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stopping(&self) -> Receiver<()> {
        self.stopped.clone()
    }

    pub(crate) fn on_stop(&self, hook: impl FnOnce() + Send + 'static) {
        let mut end = self.end.lock();
        if end.sender.is_some() {
            end.hooks.push(Box::new(hook));
        } else {
            drop(end);
            call_hook(hook);
        }
    }

    /// Tells the server to stop. Its listeners close first; then, or at once where it has none, its
    /// clients are closed. Never blocks; a second call does nothing.
    pub(crate) fn stop(&self) {
        let hooks = {
            let mut end = self.end.lock();
            if end.sender.take().is_none() {
                return;
            }
            self.stopping.store(true, Ordering::Release);
            std::mem::take(&mut end.hooks)
        };
        report!(Info, "server {} stops", Escaped(self.name()));
        for hook in hooks {
            call_hook(hook);
        }
        self.bell.ring();
        if self.listening.load(Ordering::Acquire) == 0 {
            self.close_clients();
        }
    }

    /// Stops the server because of an error of its own.
    pub(crate) fn fail(&self, error: io::Error) {
        report!(Error, "server {} ended: {error}", Escaped(self.name()));
        self.end.lock().failure = Some(error);
        self.stop();
    }

    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.end.lock().failure.take()
    }

    /// Drops the pending output of every client and ends it. Whoever has not sat down yet comes too
    /// late: nobody would abort it later.
    pub(crate) fn abort(&self) {
        for client in self.close() {
            client.shared().end(Closing::Stopping, true);
        }
    }

    pub(crate) fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Release);
        self.bell.ring();
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Says that there is one more acceptor; it holds the guard until its listener is closed.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        self.listening.fetch_add(1, Ordering::AcqRel);
        Listening { core: Arc::clone(self) }
    }

    /// Gives no seat any more and closes those who have one. They were sent word before anyone
    /// waits for them, with no lock held: ending workers need the registry.
    fn close_clients(&self) {
        for client in self.close() {
            client.shared().end(Closing::Stopping, false);
        }
    }

    /// Gives no seat any more. Who has one.
    fn close(&self) -> Vec<Client> {
        let mut registry = self.registry.lock();
        registry.closed = true;
        registry.clients.values().cloned().collect()
    }

    /// Gives back a presence, or a seat with its client.
    fn leave(&self, seat: bool, client: Option<&Client>) {
        let stats = client.map(Client::stats);
        let mut registry = self.registry.lock();
        let left = client.and_then(|client| registry.clients.remove(&client.id()));
        if let Some(stats) = stats {
            registry.bytes_in += stats.bytes_in;
            registry.bytes_out += stats.bytes_out;
        }
        registry.seats -= usize::from(seat);
        let ring = seat && std::mem::take(&mut registry.waiting);
        registry.present -= 1;
        // Once: nobody comes after that.
        let ended = registry.present == 0;
        registry.closed |= ended;
        drop(registry);
        drop(left);
        if ring {
            self.bell.ring();
        }
        if ended {
            self.stop();
            // No one listens once the machine has given up on a stuck thread.
            drop(self.events.send(Event::ServerEnded(self.id)));
        }
    }
}

impl Registry {
    fn has_room(&mut self, limits: &Limits) -> bool {
        self.waiting = self.seats >= limits.max_clients();
        !self.waiting
    }
}

impl fmt::Debug for ServerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCore").field("name", &self.name()).finish_non_exhaustive()
    }
}

fn call_hook(hook: impl FnOnce()) {
    if let Err(message) = fence(hook) {
        report!(Error, "a hook for the stop panicked: {}", Escaped(message));
    }
}

/// A thread of the server's.
pub(crate) struct Presence {
    core: Arc<ServerCore>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.core.leave(false, None);
    }
}

/// A client's place in the registry and among `max_clients`.
pub(crate) struct Seat {
    core: Arc<ServerCore>,
    client: Option<Client>,
}

impl Seat {
    /// Takes the client on. False once the server has closed its clients: it came too late.
    pub(crate) fn sit(&mut self, client: &Client) -> bool {
        let mut registry = self.core.registry.lock();
        if registry.closed {
            return false;
        }
        registry.accepted += 1;
        registry.clients.insert(client.id(), client.clone());
        registry.peak = registry.peak.max(registry.clients.len());
        drop(registry);
        self.client = Some(client.clone());
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.leave(true, self.client.as_ref());
    }
}

/// Held by the acceptor for as long as a listener is open. Its end is the end of the server.
pub(crate) struct Listening {
    core: Arc<ServerCore>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.core.stop();
        if self.core.listening.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.core.close_clients();
        }
    }
}
