//! The client: a handle of one connected peer. It can be cloned, any thread may write to it and close it, and
//! it may outlive the connection.
//!
//! Each file holds some methods of [`Client`], and the code behind them:
//!
//! - [`write`](mod@write): writes that may block, and the write path. [`io_write`] is the trait of the standard
//!   library for it.
//! - [`backlog`]: posts, and the bytes that wait for room.
//! - [`cork`]: gathered writes.
//! - [`hold`]: guards that keep a conversation open.
//! - [`close`]: how a connection ends, and how the last bytes are delivered.
//! - [`linger`]: the time limits of that delivery.
//! - [`reason`]: why a connection ended, after a callback has returned an error.
//! - `tls`: the facts about an encrypted connection, and the switch from plain text.
//! - [`group`]: a set of clients to broadcast to.
//! - [`state`]: the state that all handles of one client share, behind one lock.

pub(crate) mod activity;
pub(crate) mod backlog;
pub(crate) mod close;
pub(crate) mod cork;
pub(crate) mod group;
pub(crate) mod hold;
pub(crate) mod id;
mod io_write;
pub(crate) mod linger;
pub(crate) mod moment;
mod reason;
pub(crate) mod roster;
pub(crate) mod state;
#[cfg(feature = "tls")]
mod tls;
pub(crate) mod write;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::id::ClientId;
use crate::client::state::{ClientContext, ClientShared};
use crate::remote::Remote;
use crate::stats::ClientStats;
use crate::transport::Transport;

/// One connected peer: a handle to write to it and to close it.
///
/// Cloning is cheap, and the clone is a handle of the same client. Any thread may use a handle. A handle may
/// be kept after the connection has ended. It does not keep the socket open, and its writes fail with
/// [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
///
/// - These methods never block: [`post`](Client::post), [`close`](Client::close),
///   [`close_write`](Client::close_write), [`abort`](Client::abort), [`hold`](Client::hold), and every method
///   that only returns a value or changes a setting.
/// - These methods may block for at most the server's write timeout: [`write`](Client::write),
///   [`write_line`](Client::write_line), [`write_vectored_all`](Client::write_vectored_all),
///   [`write_frame`](Client::write_frame), `write!` and [`flush`](Client::flush). Dropping the guard of a
///   [`cork`](Client::cork) may block in the same way.
#[derive(Clone)]
pub struct Client {
    shared: Arc<ClientShared>,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        transport: Arc<dyn Transport>,
        remote: Remote,
        context: Arc<ClientContext>,
    ) -> Client {
        Client { shared: Arc::new(ClientShared::new(id, remote, transport, context)) }
    }

    /// Returns the client's number, which is unique in the process.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.shared.id
    }

    /// Returns the peer's side of the connection, for example its address.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        self.shared.remote()
    }

    /// Returns the address of the proxy that has brought this client, if the server believes
    /// [the header of a proxy](crate::TcpServer::proxy_protocol). [`remote`](Client::remote) is then the side
    /// that the proxy speaks for.
    #[must_use]
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.shared.proxy()
    }

    /// Returns the statistics of this client.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.shared.stats()
    }

    /// Sets the idle timeout of this client, instead of the [timeout](crate::TcpServer::idle_timeout) of its
    /// server. `None` means no timeout. Zero counts as one millisecond.
    ///
    /// It applies to waits for input that begin from now on. A wait that has already begun keeps its limit.
    /// Therefore call it in a callback, for example after a client has logged in.
    pub fn set_idle_timeout(&self, limit: Option<Duration>) {
        self.shared.idle_timeout.set(limit);
    }

    pub(crate) fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    pub(crate) fn is_input_ended(&self) -> bool {
        self.shared.is_input_ended()
    }

    pub(crate) fn set_bytes_in(&self, total: u64) {
        self.shared.set_bytes_in(total);
    }

    pub(crate) fn connected_since(&self) -> Instant {
        self.shared.connected
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.shared.id.0)
            .field("remote", self.remote())
            .field("closed", &self.is_closed())
            .finish()
    }
}
