//! [`ServerHandle`]: the handle of a server, for users.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::id::ClientId;
use crate::client::Client;
use crate::server::state::ServerState;
use crate::stats::ServerStats;

/// A handle of a server on a machine. No method blocks.
///
/// A clone is a handle of the same server. Dropping a handle does not stop the server.
#[derive(Clone)]
pub struct ServerHandle {
    state: Arc<ServerState>,
}

impl ServerHandle {
    pub(crate) fn new(state: Arc<ServerState>) -> ServerHandle {
        ServerHandle { state }
    }

    #[cfg(feature = "tls")]
    pub(super) fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// Returns the name that the server has in the log. It is, for example, `tcp 127.0.0.1:8000` or `stdio`,
    /// or the name that [`Control::set_name`](crate::Control::set_name) has set.
    #[must_use]
    pub fn name(&self) -> String {
        self.state.name()
    }

    /// Returns the connected clients, in the order in which they connected. A client is missing until its TLS
    /// handshake has succeeded and its PROXY header has arrived.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.state.clients()
    }

    /// Returns the connected client with this number, or `None` if it has ended or is not in
    /// [`clients`](ServerHandle::clients) yet.
    #[must_use]
    pub fn client(&self, id: ClientId) -> Option<Client> {
        self.state.client(id)
    }

    /// Returns the number of connected clients. A client counts from the moment at which it takes a
    /// [place](crate::TcpServer::max_clients), and so also during its TLS handshake.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.state.client_count()
    }

    /// [Posts](Client::post) `data` to every client, and returns how many clients accepted it. A slow client
    /// delays no other client.
    ///
    /// Two broadcasts at the same time may reach two clients in different orders. If the order matters, hold a lock
    /// of your own meanwhile. It is never held for long, because a post never waits for a peer.
    pub fn broadcast(&self, data: impl AsRef<[u8]>) -> usize {
        self.state.broadcast(data.as_ref())
    }

    /// Stops accepting clients until [`resume`](ServerHandle::resume) is called. Until then, new clients wait
    /// in the kernel's queue. Connected clients are served as before.
    pub fn suspend(&self) {
        self.state.suspend(true);
    }

    /// Accepts clients again.
    pub fn resume(&self) {
        self.state.suspend(false);
    }

    /// Returns `true` if the server is suspended.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.state.is_suspended()
    }

    /// Stops this server alone, gracefully. Returns at once. A second call does nothing.
    ///
    /// The server closes its listeners, and then ends its clients with the reason
    /// [`Stopping`](crate::Closing::Stopping), in the same way as a stop of the
    /// [machine](crate::Machine#stopping). Clients that are left after the [drain
    /// timeout](crate::Machine::set_drain_timeout) are aborted. The server has ended when its last client has
    /// ended. When the last server of a machine has ended, the machine stops. If the machine does not run
    /// yet, the listeners close when it runs.
    pub fn stop(&self) {
        self.state.request_stop();
    }

    /// Closes the listeners of this server, and serves its clients until they end by themselves. After
    /// `limit`, stops the clients that are left, as [`stop`](ServerHandle::stop) does. Returns at once. A
    /// second call does nothing.
    ///
    /// Use it to restart a program without losing a connection. Pass the listener to the new process first
    /// ([`TcpServer::from_listener`](crate::TcpServer::from_listener)), and then drain the server of the old
    /// process. A connection that the server has already accepted is served, even if it waits for a place.
    /// The server has ended when its last client has ended.
    pub fn drain(&self, limit: Duration) {
        self.state.request_drain(limit);
    }

    /// Returns `true` if the server was asked to stop or to drain, or has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.is_stopping()
    }

    /// Returns the statistics of this server.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.state.stats()
    }

    /// Changes [how many clients](crate::TcpServer::max_clients) are served at once. The minimum is 1.
    /// Connected clients are served as before.
    pub fn set_max_clients(&self, limit: usize) {
        self.state.limits().set_max_clients(limit);
        self.state.changed.notify();
    }

    /// Changes the [idle timeout](crate::TcpServer::idle_timeout) for waits that begin from now on. `None`
    /// turns it off. Zero counts as one millisecond.
    pub fn set_idle_timeout(&self, limit: Option<Duration>) {
        self.state.limits().set_idle_timeout(limit);
    }

    /// Changes the [write timeout](crate::TcpServer::write_timeout) for writes that begin from now on. With
    /// zero, a write that the socket does not take at once ends the client within a tenth of a second.
    pub fn set_write_timeout(&self, limit: Duration) {
        self.state.limits().set_write_timeout(limit);
    }

    /// Changes [how many bytes](crate::TcpServer::max_backlog) may wait in a client's backlog, for posts
    /// from now on.
    pub fn set_max_backlog(&self, limit: usize) {
        self.state.limits().set_max_backlog(limit);
    }
}

impl Client {
    /// Returns the handle of the server that serves this client.
    #[must_use]
    pub fn server(&self) -> ServerHandle {
        let server = Arc::clone(&self.shared().context().server);
        match server.downcast::<ServerState>() {
            Ok(server) => ServerHandle::new(server),
            Err(_) => unreachable!("the session of a client sets the state of its server"),
        }
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
