//! The guards that keep a server from ending. Each of its threads, clients and listeners holds one.
//!
//! A server has ended when its last [`ActiveGuard`] and its last [`Permit`] have been dropped. Guards are
//! dropped in any case, even after a panic.

use std::sync::Arc;

use crate::client::Client;
use crate::event::Event;
use crate::server::state::ServerState;

/// Held by each thread of a server, and by the thread that prepares the server.
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

/// The right to serve one client. There are `max_clients` permits. The acceptor takes one when it has
/// accepted a connection. The session uses it to register its client, and drops it when the session's thread
/// is free again.
pub(crate) struct Permit {
    server: Arc<ServerState>,
    client: Option<Client>,
}

impl Permit {
    /// Returns `None` while all permits are in use, and after the server has closed its clients. `changed` is
    /// notified when a permit is returned.
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

    /// Adds the client to the server's registry. Returns `false` if the server has already closed its
    /// clients, so that this client comes too late.
    pub(crate) fn register(&mut self, client: &Client) -> bool {
        let mut registry = self.server.registry().lock();
        if registry.closed {
            return false;
        }
        registry.accepted += 1;
        registry.clients.insert(client.clone());
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

/// Returns a guard, or a permit with its client.
fn leave(server: &Arc<ServerState>, permits: usize, client: Option<&Client>) {
    let traffic = client.map(|client| client.shared().traffic());
    let mut registry = server.registry().lock();
    let unregistered = client.and_then(|client| registry.clients.remove(client.id()));
    if let Some(traffic) = traffic {
        registry.bytes_in += traffic.bytes_in;
        registry.bytes_out += traffic.bytes_out;
    }
    registry.permits -= permits;
    let notify = permits > 0 && std::mem::take(&mut registry.waiting);
    registry.active -= 1;
    // After that, no guard can be taken, so the server ends only once.
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

/// Held by an acceptor for as long as its listener is open. If one listener closes by itself, the whole server
/// stops.
/// The last guard to be dropped reports that all listeners are closed.
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
        // A server that drains closes its listeners and keeps its clients.
        if !self.server.is_draining() {
            self.server.request_stop();
        }
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
