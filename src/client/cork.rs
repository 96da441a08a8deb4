//! The cork: a guard that gathers output while it lives.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::client::state::ClientShared;
use crate::logging::{debug, Escaped};

/// Gathers the output of a client while it lives. Returned by [`Client::cork`](crate::Client::cork).
///
/// The drop writes the gathered output, which may block like a write. An error then ends the connection
/// and is only logged. Call [`flush`](Corked::flush) to get the error.
#[must_use = "the drop of the guard sends the gathered output"]
pub struct Corked<'a> {
    shared: &'a Arc<ClientShared>,
}

impl<'a> Corked<'a> {
    pub(crate) fn new(shared: &'a Arc<ClientShared>) -> Corked<'a> {
        shared.cork();
        Corked { shared }
    }

    /// Writes the output that was gathered so far, as one piece. Later output is gathered again.
    ///
    /// # Errors
    /// The same as for [`Client::write`](crate::Client::write).
    pub fn flush(&self) -> io::Result<()> {
        self.shared.write_gathered()
    }
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.shared.uncork() {
            debug!("client {}: gathered output is lost: {}", self.shared.id, Escaped(error));
        }
    }
}

impl fmt::Debug for Corked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corked").field("client", &self.shared.id).finish()
    }
}
