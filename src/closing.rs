//! The reason why a client's connection ended. The client's thread creates it for `Adapter::closing`.

use std::fmt;
use std::io;

use crate::error::BoxError;
use crate::logging::Escaped;

/// The reason why a client's connection ended, for [`Adapter::closing`](crate::Adapter::closing).
///
/// The first reason counts. For example, if the server closes a client and the peer then resets the
/// connection, the reason is [`ByServer`](Closing::ByServer). Only an error or a panic of the adapter
/// replaces an earlier reason, because it must not be lost.
///
/// The guide lists [all endings](crate::guide::endings#all-endings) with their reasons, and says when `closing`
/// can still write.
#[derive(Debug)]
#[non_exhaustive]
pub enum Closing {
    /// The peer ended its output, and then the conversation ended. Output can still be delivered.
    ByPeer,
    /// `close()` or `abort()` was called, or `serving` returned `Ok` before the peer ended its output.
    ByServer,
    /// The server or the machine is stopping. This is also the reason at the drain timeout of a stop, and after
    /// the limit of a drain.
    Stopping,
    /// The peer sent nothing for as long as the idle timeout of the server or of this client.
    Idle,
    /// The peer reads too slowly. A write did not finish within the write timeout, or the backlog overflowed.
    TooSlow,
    /// The connection was lost because of a reset, a broken pipe or another I/O error.
    Lost(io::Error),
    /// A callback returned this error.
    Failed(BoxError),
    /// A callback panicked, with this message.
    Panicked(String),
}

impl fmt::Display for Closing {
    /// Writes the reason in words. Messages of errors and panics are escaped, so the output is safe to log.
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
