//! Listeners: the sources of connections for acceptors.
//!
//! - [`tcp`] binds addresses and sets the options of TCP.
//! - [`socket`] is a listening socket. A thread can wait for connections on it, and the wait can be
//!   interrupted.

pub(crate) mod socket;
pub(crate) mod tcp;

use std::io;

use crate::remote::Remote;

/// A source of connections for an acceptor.
pub(crate) trait Listener: Send + 'static {
    /// The socket of an accepted connection.
    type Socket;

    /// Returns a function that ends the running call of `accept` and all later ones.
    fn interrupter(&self) -> Box<dyn FnOnce() + Send>;

    /// Waits for a connection and takes it from the queue. After an interrupt, fails with some error.
    fn accept(&mut self) -> io::Result<Accepted<Self::Socket>>;
}

/// A connection that a listener has accepted.
pub(crate) struct Accepted<S> {
    pub(crate) socket: S,
    pub(crate) remote: Remote,
}
