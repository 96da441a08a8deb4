//! The guards that keep a server from ending: one for each of its threads, clients and listeners.
//!
//! A server has ended when its last [`ActiveGuard`] and its last [`Permit`] have dropped. The drops come
//! whatever happens, also after a panic.

use std::sync::Arc;

use crate::client::Client;
use crate::event::Event;
use crate::server::state::ServerState;

/// Held by a thread of a server, and by the thread that prepares it.
pub(crate) struct ActiveGuard {
    server: Arc<ServerState>,
}

impl ActiveGuard {
    /// Returns `None` if the server is stopping.
    pub(crate) fn take(server: &Arc<ServerState>) -> Option<ActiveGuard> {
        let stopping = server.is_stopping();
        let mut registry = server.registry().lock();
        if registry.closed || stopping {
            return None;
        }
        registry.active += 1;
        Some(ActiveGuard { server: Arc::clone(server) })
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        leave(&self.server, 0, None);
    }
}

/// The right to serve one client: one of `max_clients`. The acceptor takes it when it has accepted a
/// connection. The session registers its client with it, and drops it when its thread is free again.
pub(crate) struct Permit {
    server: Arc<ServerState>,
    client: Option<Client>,
}

impl Permit {
    /// Returns `None` while all permits are out, and after the server has closed its clients. `changed`
    /// is notified when a permit comes free.
    pub(crate) fn take(server: &Arc<ServerState>) -> Option<Permit> {
        let mut registry = server.registry().lock();
        if registry.closed || !registry.has_room(server.limits()) {
            return None;
        }
        registry.active += 1;
        registry.permits += 1;
        drop(registry);
        Some(Permit { server: Arc::clone(server), client: None })
    }

    /// Enters the client into the server's registry. Returns `false` if the server has closed its
    /// clients: then this one comes too late.
    pub(crate) fn register(&mut self, client: &Client) -> bool {
        let mut registry = self.server.registry().lock();
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

impl Drop for Permit {
    fn drop(&mut self) {
        leave(&self.server, 1, self.client.as_ref());
    }
}

/// Gives back a guard, or one of the `permits` with its client.
fn leave(server: &Arc<ServerState>, permits: usize, client: Option<&Client>) {
    let stats = client.map(Client::stats);
    let mut registry = server.registry().lock();
    let unregistered = client.and_then(|client| registry.clients.remove(&client.id()));
    if let Some(stats) = stats {
        registry.bytes_in += stats.bytes_in;
        registry.bytes_out += stats.bytes_out;
    }
    registry.permits -= permits;
    let notify = permits > 0 && std::mem::take(&mut registry.waiting);
    registry.active -= 1;
    // No guard can be taken after that, so the server ends once.
    let ended = registry.active == 0;
    registry.closed |= ended;
    drop(registry);
    drop(unregistered);
    if notify {
        server.changed.notify();
    }
    if ended {
        server.ended();
    }
}

/// Held by an acceptor for as long as its listener is open. If one listener closes, the whole server
/// stops. The last one to close reports that.
pub(crate) struct ListenerGuard {
    server: Arc<ServerState>,
}

impl ListenerGuard {
    pub(crate) fn new(server: &Arc<ServerState>) -> ListenerGuard {
        server.registry().lock().listeners += 1;
        ListenerGuard { server: Arc::clone(server) }
    }
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        self.server.request_stop();
        let last = {
            let mut registry = self.server.registry().lock();
            registry.listeners -= 1;
            registry.listeners == 0
        };
        if last {
            self.server.send(Event::ListenersClosed(self.server.id()));
        }
    }
}
