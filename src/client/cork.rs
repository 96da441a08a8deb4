//! The cork: writes gather while a guard lives.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::client::output::Shared;
use crate::report::{report, Escaped};

/// Gathers a client's output while it lives. From [`Client::cork`](crate::Client::cork).
///
/// Dropping it writes what was gathered, which may block as a write may; an error then ends the
/// connection and is only logged. [`flush`](Corked::flush) tells it.
#[must_use = "dropping the guard lets go of the cork"]
pub struct Corked<'a> {
    shared: &'a Arc<Shared>,
}

impl<'a> Corked<'a> {
    pub(crate) fn new(shared: &'a Arc<Shared>) -> Corked<'a> {
        shared.cork();
        Corked { shared }
    }

    /// Writes what was gathered so far, as one piece. What is written from now on gathers again.
    ///
    /// # Errors
    /// As [`Client::write`](crate::Client::write).
    pub fn flush(&self) -> io::Result<()> {
        self.shared.write_gathered()
    }
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.shared.uncork() {
            report!(Debug, "client {}: gathered output lost: {}", self.shared.id, Escaped(error));
        }
    }
}

impl fmt::Debug for Corked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corked").field("client", &self.shared.id).finish()
    }
}
