//! The state of one server: its clients, its statistics, and how it stops.
//!
//! A server stops in these steps. Any thread may take the first step. The thread in `run` takes the next two
//! (`machine/run.rs`):
//!
//! 1. [`request_stop`](ServerState::request_stop) asks for the stop, or
//!    [`request_drain`](ServerState::request_drain) asks for a drain, which takes step 3 later.
//! 2. [`close_listeners`](ServerState::close_listeners) wakes the acceptors, which then close their
//!    listeners.
//! 3. [`end_clients`](ServerState::end_clients) closes the clients after the last listener has closed.
//! 4. The last guard of [`permit`](super::permit) is dropped. The server has ended.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::client::id::ClientId;
use crate::client::roster::{self, Roster};
use crate::client::Client;
use crate::closing::Closing;
use crate::event::{Event, Events, ServerId};
use crate::limits::Limits;
use crate::logging::{debug, error, info, warn, Escaped, Limiter};
use crate::server::counters::Counters;
use crate::server::notify::Notify;
use crate::server::stop_stage::{call_hook, StopStage};
#[cfg(feature = "tls")]
use crate::server::tls::ServerTls;
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::Mutex;
use crate::transport::StdioGuard;

const NOTHING: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;

/// The state of one server. The handles, threads and clients of the server share it.
pub(crate) struct ServerState {
    id: ServerId,
    name: Mutex<String>,
    limits: Arc<Limits>,
    events: Events,
    registry: Mutex<ClientRegistry>,
    stop: Mutex<StopStage>,
    /// The largest request so far: [`NOTHING`], [`DRAIN`] or [`STOP`]. Written by the thread that
    /// asks, before it changes `stop`.
    asked: AtomicU8,
    /// Disconnected when the listeners close.
    stopped: Receiver<()>,
    /// Set by `ServerHandle::suspend` and `resume`, and read by the acceptor.
    suspended: AtomicBool,
    /// Set by `prepare`.
    brief: AtomicBool,
    /// Notified when a permit is returned, when a suspension begins or ends, and at the stop.
    pub(crate) changed: Notify,
    /// Written by the acceptor and by sessions, and read by threads that ask for the statistics.
    pub(crate) counters: Counters,
    /// Limits the warnings about accepting connections.
    pub(crate) warnings: Limiter,
    /// Limits the warnings about peers that read too slowly.
    slow_peers: Limiter,
    /// The guard of the standard streams, if this is the stdio server.
    pub(super) stdio_guard: OnceLock<Arc<StdioGuard>>,
    /// The TLS of this server, if it has any. Set while it is prepared.
    #[cfg(feature = "tls")]
    tls: OnceLock<Arc<ServerTls>>,
}

/// Written under the lock by the acceptor, which takes permits, by sessions, which return permits, and by the
/// thread that stops the server.
#[derive(Default)]
pub(super) struct ClientRegistry {
    pub(super) clients: Roster,
    /// `true` if no more permits are given and no client can register.
    pub(super) closed: bool,
    /// The permits in use: by clients, and by connections on their way from the acceptor to a session.
    pub(super) permits: usize,
    /// The guards and permits in use. At zero the server has ended.
    pub(super) active: usize,
    /// The number of open listeners.
    pub(super) listeners: usize,
    /// `true` if an acceptor waits for a permit.
    pub(super) waiting: bool,
    pub(super) accepted: u64,
    pub(super) peak: usize,
    /// The bytes that were read from clients that have ended.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl ServerState {
    pub(crate) fn new(id: ServerId, name: String, events: Events) -> Arc<ServerState> {
        let (sender, stopped) = bounded(0);
        Arc::new(ServerState {
            id,
            name: Mutex::new(name),
            limits: Arc::default(),
            events,
            registry: Mutex::default(),
            stop: Mutex::new(StopStage::new(sender)),
            asked: AtomicU8::new(NOTHING),
            stopped,
            suspended: AtomicBool::new(false),
            brief: AtomicBool::new(false),
            changed: Notify::default(),
            counters: Counters::default(),
            warnings: Limiter::default(),
            slow_peers: Limiter::default(),
            stdio_guard: OnceLock::new(),
            #[cfg(feature = "tls")]
            tls: OnceLock::new(),
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

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.get()
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&self, tls: Arc<ServerTls>) {
        self.tls.get_or_init(|| tls);
    }

    pub(super) fn registry(&self) -> &Mutex<ClientRegistry> {
        &self.registry
    }

    /// Returns the clients whose upgrades have finished.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let registry = self.registry.lock();
        registry.clients.iter().filter(|client| !client.shared().is_upgrading()).cloned().collect()
    }

    /// Posts `data` to every client whose upgrades have finished, and returns how many have accepted it.
    pub(crate) fn broadcast(&self, data: &[u8]) -> usize {
        // Before its upgrades have finished, a client refuses everything.
        let clients = self.registry.lock().clients.list();
        roster::broadcast(&clients, data)
    }

    pub(crate) fn client(&self, id: ClientId) -> Option<Client> {
        self.registry.lock().clients.get(id).filter(|client| !client.shared().is_upgrading()).cloned()
    }

    pub(crate) fn client_count(&self) -> usize {
        self.registry.lock().clients.len()
    }

    /// Returns `true` if there is room for one more client. Otherwise `changed` is notified when there is
    /// room.
    pub(crate) fn has_room(&self) -> bool {
        self.registry.lock().has_room(&self.limits)
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.registry.lock().listeners > 0
    }

    /// Logs a warning about accepting connections, unless there was one within the last seconds.
    pub(crate) fn warn(&self, message: fmt::Arguments<'_>) {
        self.warn_limited(&self.warnings, message);
    }

    /// Logs a warning about a peer that reads too slowly, unless there was one within the last seconds.
    pub(crate) fn warn_of_slow_peer(&self, message: fmt::Arguments<'_>) {
        self.warn_limited(&self.slow_peers, message);
    }

    fn warn_limited(&self, limiter: &Limiter, message: fmt::Arguments<'_>) {
        let Some(more) = limiter.allow(Instant::now()) else { return };
        let name = self.name();
        match more {
            0 => warn!("server {}: {message}", Escaped(name)),
            1 => warn!("server {}: {message} (1 warning was not logged since the last one)", Escaped(name)),
            _ => warn!(
                "server {}: {message} ({more} warnings were not logged since the last one)",
                Escaped(name)
            ),
        }
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let (mut stats, clients) = {
            let mut registry = self.registry.lock();
            let stats = ServerStats {
                accepted: registry.accepted,
                current: registry.clients.len(),
                peak: registry.peak,
                bytes_in: registry.bytes_in,
                bytes_out: registry.bytes_out,
                ..ServerStats::default()
            };
            (stats, registry.clients.list())
        };
        for client in &*clients {
            let client = client.shared().traffic();
            stats.bytes_in += client.bytes_in;
            stats.bytes_out += client.bytes_out;
            stats.backlog += client.backlog;
        }
        self.counters.add_to(&mut stats);
        stats
    }

    pub(crate) fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Release);
        self.changed.notify();
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Returns `true` if a stop was asked for, or if the server has ended.
    pub(crate) fn is_stopping(&self) -> bool {
        !matches!(&*self.stop.lock(), StopStage::Serving(_))
    }

    /// Returns a receiver that disconnects when the listeners close.
    pub(crate) fn stopping(&self) -> Receiver<()> {
        self.stopped.clone()
    }

    /// Calls `hook` when the listeners close, and returns its number. If they have already closed, calls it at
    /// once.
    pub(crate) fn on_stop(&self, hook: impl FnOnce() + Send + 'static) -> Option<u64> {
        if let Some(hooks) = self.stop.lock().hooks() {
            hooks.next += 1;
            hooks.calls.insert(hooks.next, Box::new(hook));
            return Some(hooks.next);
        }
        call_hook(hook);
        None
    }

    /// Removes the hook with this number, unless the listeners have already closed.
    pub(crate) fn cancel_hook(&self, number: u64) {
        let hook = self.stop.lock().hooks().and_then(|hooks| hooks.calls.remove(&number));
        // The hook is user code, so it is dropped without the lock.
        call_hook(move || drop(hook));
    }

    /// Asks the thread in `run` to stop this server. Never blocks. A second call does nothing.
    pub(crate) fn request_stop(&self) {
        self.mark_stopping();
        if self.raise(STOP) {
            self.send(Event::StopServer(self.id));
        }
    }

    /// Closes the listeners because of a stop. The thread in `run` calls this.
    pub(crate) fn stop(&self) {
        self.raise(STOP);
        self.close_listeners();
        // In a drain, an acceptor may still wait for a permit.
        self.changed.notify();
    }

    /// Asks the thread in `run` to close the listeners, and to stop the clients that are left after `limit`.
    /// Never blocks. A second call does nothing.
    pub(crate) fn request_drain(&self, limit: Duration) {
        if self.start_drain() {
            self.send(Event::DrainServer(self.id, limit));
        }
    }

    /// Marks the server as draining. Returns `false` if it already drains or stops.
    pub(crate) fn start_drain(&self) -> bool {
        let first = !self.is_stopping() && self.raise(DRAIN);
        if first {
            self.mark_stopping();
        }
        first
    }

    /// Returns `true` if the listeners close and the clients continue.
    pub(crate) fn is_draining(&self) -> bool {
        self.asked.load(Ordering::Acquire) == DRAIN
    }

    /// Returns `true` if clients are refused and closed.
    pub(crate) fn refuses(&self) -> bool {
        self.registry.lock().closed
    }

    fn raise(&self, level: u8) -> bool {
        self.asked.fetch_max(level, Ordering::AcqRel) < level
    }

    /// Asks for a stop because the listener is unusable. The failure becomes the error of `run`.
    pub(crate) fn request_stop_after(&self, failure: io::Error) {
        error!(
            "server {} ends, because its listener cannot be used any more: {failure}",
            Escaped(self.name())
        );
        self.mark_stopping();
        self.send(Event::ServerFailed(self.id, failure));
    }

    /// Closes everything that a failed `prepare` has left. The caller of `prepare` gets the error, so the log
    /// does not mention a server that has never served.
    pub(crate) fn discard(&self) {
        self.leave_serving();
        self.close_listeners();
        self.end_clients();
    }

    /// Returns `false` if the server was already stopping.
    fn mark_stopping(&self) -> bool {
        let first = self.leave_serving();
        if first {
            self.log_stage(if self.is_draining() { "drains" } else { "stops" });
        }
        first
    }

    /// Marks a server that ends with its only client. It is logged like a client.
    pub(crate) fn set_brief(&self) {
        self.brief.store(true, Ordering::Relaxed);
    }

    /// Logs a stage of the end of this server.
    pub(crate) fn log_stage(&self, stage: &str) {
        let name = Escaped(self.name());
        if self.brief.load(Ordering::Relaxed) {
            debug!("server {name} {stage}");
        } else {
            info!("server {name} {stage}");
        }
    }

    /// Returns `false` if the server was already stopping.
    fn leave_serving(&self) -> bool {
        let mut stage = self.stop.lock();
        let StopStage::Serving(hooks) = &mut *stage else { return false };
        let hooks = std::mem::take(hooks);
        *stage = StopStage::Requested(hooks);
        true
    }

    /// Tells every acceptor to close its listener, and calls the hooks of `on_stop`. The listeners close on
    /// the threads of the acceptors. A second call does nothing.
    pub(crate) fn close_listeners(&self) {
        self.mark_stopping();
        let stage = std::mem::replace(&mut *self.stop.lock(), StopStage::ListenersClosed);
        let StopStage::Requested(mut hooks) = stage else { return };
        drop(hooks.stopped.take());
        for call in hooks.calls.into_values() {
            call_hook(call);
        }
        self.changed.notify();
    }

    /// Refuses new clients and closes the connected clients gracefully.
    ///
    /// The clients are asked to end without a lock being held, because a session that ends needs the
    /// registry.
    pub(crate) fn end_clients(&self) {
        for client in self.refuse_clients() {
            client.stop();
        }
        // An acceptor may wait for a permit.
        self.changed.notify();
    }

    /// Refuses new clients, aborts the connected clients and drops their pending output. Returns these
    /// clients.
    pub(crate) fn abort_clients(&self) -> Vec<Client> {
        let clients = self.refuse_clients();
        for client in &clients {
            client.end_now(Closing::Stopping);
        }
        self.changed.notify();
        clients
    }

    /// Refuses new clients from now on, and returns the connected clients.
    fn refuse_clients(&self) -> Vec<Client> {
        let mut registry = self.registry.lock();
        registry.closed = true;
        registry.clients.iter().cloned().collect()
    }

    /// Called when the last guard has been dropped, which means that the server has ended.
    pub(super) fn ended(&self) {
        self.mark_stopping();
        self.send(Event::ServerEnded(self.id));
    }

    pub(super) fn send(&self, event: Event) {
        // If the machine has given up on a stuck thread, the receiver no longer exists.
        drop(self.events.send(event));
    }
}

impl ClientRegistry {
    pub(super) fn has_room(&mut self, limits: &Limits) -> bool {
        self.waiting = self.permits >= limits.max_clients();
        !self.waiting
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState").field("name", &self.name()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn server() -> (Arc<ServerState>, Receiver<Event>) {
        let (events, receiver) = crossbeam_channel::unbounded();
        (ServerState::new(ServerId(1), "test".to_owned(), events), receiver)
    }

    #[test]
    fn a_stop_and_a_drain_are_sent_once_and_a_stop_is_the_last() {
        let (server, events) = server();
        for _ in 0..3 {
            server.request_drain(Duration::from_secs(1));
        }
        assert!(server.is_draining() && server.is_stopping());
        for _ in 0..3 {
            server.request_stop();
            server.request_drain(Duration::from_secs(2));
        }
        assert!(!server.is_draining() && server.is_stopping());
        let sent: Vec<_> = events.try_iter().collect();
        let [Event::DrainServer(_, limit), Event::StopServer(_)] = &*sent else { panic!("{sent:?}") };
        assert_eq!(*limit, Duration::from_secs(1));
    }

    #[test]
    fn a_server_that_has_failed_does_not_drain() {
        let (server, events) = server();
        server.request_stop_after(io::Error::other("on purpose"));
        server.request_drain(Duration::from_secs(1));
        assert!(!server.is_draining());
        let sent: Vec<_> = events.try_iter().collect();
        assert!(matches!(&*sent, [Event::ServerFailed(..)]), "{sent:?}");
    }
}
