//! The cork: a guard that gathers output while it exists.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::client::state::ClientShared;
use crate::client::Client;
use crate::logging::{debug, Escaped};

impl Client {
    /// Gathers all output to the client until the guard drops or [`flush`](Corked::flush) is called. The
    /// output is then sent as one piece. Output of other threads is gathered too.
    ///
    /// Corks can be nested. The output is then sent when the last guard drops. If more than 64 KiB are
    /// gathered, they are sent earlier to limit the memory.
    ///
    /// ```
    /// # struct Table;
    /// # impl backport::Adapter for Table {
    /// fn receiving(&mut self, client: &backport::Client, _: &[u8]) -> backport::Result {
    ///     let corked = client.cork();
    ///     for row in 0..100 {
    ///         client.write_line(row.to_string())?;
    ///     }
    ///     corked.flush()?; // one system call; dropping the guard would not return an error
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[must_use = "dropping the guard sends the gathered output"]
    pub fn cork(&self) -> Corked<'_> {
        Corked::new(&self.shared)
    }
}

/// A guard that gathers the output to a client. [`Client::cork`](crate::Client::cork) returns it.
///
/// When it is dropped, it writes the gathered output, which may block like a write. If that fails, the
/// connection ends, and the error is only logged. Call [`flush`](Corked::flush) to get the error.
#[must_use = "dropping the guard sends the gathered output"]
pub struct Corked<'a> {
    shared: &'a Arc<ClientShared>,
}

impl<'a> Corked<'a> {
    pub(crate) fn new(shared: &'a Arc<ClientShared>) -> Corked<'a> {
        shared.cork();
        Corked { shared }
    }

    /// Writes the output that was gathered so far as one piece. Later output is gathered again.
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
