//! Why a client's connection ended: data, made by the worker and handed to `Adapter::closing`.

use std::fmt;
use std::io;

use crate::error::BoxError;
use crate::logging::Escaped;

/// Why a client's connection ended, as [`Adapter::closing`](crate::Adapter::closing) gets it.
///
/// The first cause wins: a client that the server has closed and that then resets the connection
/// ended [`ByServer`](Closing::ByServer). Only an error of the adapter's own and a panic, which
/// must not be lost, replace a cause that came earlier.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closing {
    /// The peer ended its output, and the conversation came to its end.
    ByPeer,
    /// `close()` or `abort()` was called, or `serving` returned `Ok` with the peer still there.
    ByServer,
    /// The server or the machine is stopping.
    Stopping,
    /// Nothing came from the peer for as long as the server's idle timeout.
    Idle,
    /// A write did not end within the write timeout, or the backlog overflowed: the peer doesn't
    /// read as fast as it is written to.
    TooSlow,
    /// The connection was lost: reset, broken pipe, any other I/O failure.
    Lost(io::Error),
    /// A callback returned this error.
    Failed(BoxError),
    /// A callback panicked, with this message.
    Panicked(String),
}

impl fmt::Display for Closing {
    /// In words, what came from outside escaped: safe to log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closing::ByPeer => f.write_str("closed by the peer"),
            Closing::ByServer => f.write_str("closed by the server"),
            Closing::Stopping => f.write_str("the server is stopping"),
            Closing::Idle => f.write_str("idle for too long"),
            Closing::TooSlow => f.write_str("the peer reads too slowly"),
            Closing::Lost(error) => write!(f, "connection lost: {}", Escaped(error)),
            Closing::Failed(error) => write!(f, "failed: {}", Escaped(error)),
            Closing::Panicked(message) => write!(f, "panicked: {}", Escaped(message)),
        }
    }
}
