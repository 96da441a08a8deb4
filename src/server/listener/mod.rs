//! Listeners: the sources of connections for acceptors.
//!
//! - [`tcp`] binds addresses and sets the options of TCP.
//! - `unix` binds and accepts from Unix sockets, and `unix_path` takes and removes their paths.
//! - [`socket`] is a listening socket. A thread can wait for connections on it, and the wait can be
//!   interrupted.

pub(crate) mod socket;
pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;
#[cfg(unix)]
mod unix_path;

use std::io;
use std::time::Instant;

use crate::remote::Remote;

/// A source of connections for an acceptor.
pub(crate) trait Listener: Send + 'static {
    /// The socket of an accepted connection.
    type Socket: Refuse;

    /// Returns a function that ends the running call of `accept` and all later ones.
    fn interrupter(&self) -> Box<dyn FnOnce() + Send>;

    /// Waits for a connection and takes it from the queue. Returns `None` if `deadline` comes first. After an
    /// interrupt, fails with some error.
    fn accept(&mut self, deadline: Option<Instant>) -> io::Result<Option<Accepted<Self::Socket>>>;
}

/// The socket of a connection that can be refused. No method blocks.
pub(crate) trait Refuse {
    /// Sends the part of `message` for which there is room, and then the end of output.
    fn refuse(&self, message: &[u8]) -> io::Result<()>;

    /// Drops the input that has arrived. If a socket is closed while it has unread input, the kernel sends
    /// RST, which could destroy the message.
    fn drop_input(&self);
}

/// A connection that a listener has accepted.
pub(crate) struct Accepted<S> {
    pub(crate) socket: S,
    pub(crate) remote: Remote,
}
