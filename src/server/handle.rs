//! The handle of a server: what the user sees of it, and how to stop it alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::server::core::ServerCore;
use crate::stats::ServerStats;

/// A server on a machine. Cloneable; dropping it leaves the server as it is. No method blocks.
#[derive(Clone)]
pub struct ServerHandle {
    core: Arc<ServerCore>,
}

impl ServerHandle {
    pub(crate) fn new(core: Arc<ServerCore>) -> ServerHandle {
        ServerHandle { core }
    }

    /// What the server is called in the log: `tcp 127.0.0.1:8000`, `stdio`, or what its
    /// [`Control::set_name`](crate::Control::set_name) said.
    #[must_use]
    pub fn name(&self) -> String {
        self.core.name()
    }

    /// The clients that it serves now, in the order in which they connected.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.core.clients()
    }

    /// How many clients it serves now.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.core.client_count()
    }

    /// [`post`](Client::post)s `data` to every client, and says how many took it. One that can't is
    /// not waited for and keeps no other from it.
    pub fn broadcast(&self, data: impl AsRef<[u8]>) -> usize {
        let data = data.as_ref();
        self.core.clients().iter().filter(|client| client.post(data).is_ok()).count()
    }

    /// Stops accepting until [`resume`](ServerHandle::resume): clients that connect meanwhile wait
    /// in the kernel's queue. Those that are served go on.
    pub fn suspend(&self) {
        self.core.suspend(true);
    }

    /// Accepts again.
    pub fn resume(&self) {
        self.core.suspend(false);
    }

    /// Whether it was told not to accept.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.core.is_suspended()
    }

    /// Stops this server alone, gracefully: it closes its listeners, then its clients
    /// ([`Stopping`](crate::Closing::Stopping)), and leaves the machine when the last has gone; the
    /// last server stops the machine. Returns at once; a second call does nothing.
    pub fn stop(&self) {
        self.core.stop();
    }

    /// Whether it was told to stop, or has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.core.is_stopping()
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.core.stats()
    }

    /// Changes how many clients it serves at once, at least 1. Those that are served go on.
    pub fn set_max_clients(&self, limit: usize) {
        self.core.limits().set_max_clients(limit);
        self.core.bell.ring();
    }

    /// Changes the [idle timeout](crate::TcpServer::idle_timeout), for waits that begin from now on.
    /// `None` is none; zero is a millisecond.
    pub fn set_idle_timeout(&self, limit: Option<Duration>) {
        self.core.limits().set_idle_timeout(limit);
    }

    /// Changes the [write timeout](crate::TcpServer::write_timeout), for writes that begin from now on.
    /// Zero ends a client that has no room for all of a write, give or take a tenth of a second.
    pub fn set_write_timeout(&self, limit: Duration) {
        self.core.limits().set_write_timeout(limit);
    }

    /// Changes how many bytes may wait in a client's backlog, for posts from now on.
    pub fn set_max_backlog(&self, limit: usize) {
        self.core.limits().set_max_backlog(limit);
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("name", &self.name())
            .field("clients", &self.client_count())
            .field("stopped", &self.is_stopped())
            .finish()
    }
}
