//! Upgrades: steps between the registration of a client and its `opening`, such as a handshake.
//!
//! An upgrade reads and writes through the transport that it is given, and returns the one to go on with.
//! Until the last upgrade has finished, no other thread can write to the client. A new upgrade is one new
//! file with an implementation of [`Upgrade`], and the server that uses it passes it to its sessions.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::remote::Remote;
use crate::transport::Transport;

/// How long all upgrades of one client may take together.
pub(crate) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// One step between the registration of a client and its `opening`.
pub(crate) trait Upgrade: Send + Sync {
    /// Upgrades a connection, on the client's thread. May block until `deadline`.
    ///
    /// A stop or a close interrupts the transport. A read then returns
    /// [`Interrupted`](crate::transport::Received::Interrupted), and this must return soon.
    ///
    /// # Errors
    /// If the peer does not do its part. That ends the connection before `opening`.
    fn upgrade(&self, connection: Connection, deadline: Instant) -> io::Result<Connection>;
}

/// The transport of a client, and its far end.
pub(crate) struct Connection {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) remote: Remote,
}

/// Takes a connection through all upgrades, in order and with one deadline.
pub(crate) fn upgrade_all(upgrades: &[Box<dyn Upgrade>], connection: Connection) -> io::Result<Connection> {
    let deadline = Instant::now() + UPGRADE_TIMEOUT;
    upgrades.iter().try_fold(connection, |connection, upgrade| upgrade.upgrade(connection, deadline))
}
