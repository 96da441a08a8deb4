//! [`Hold`]: a guard that keeps a conversation open until an answer is written.

use std::fmt;
use std::ops::Deref;

use crate::client::Client;

impl Client {
    /// Returns a guard that keeps this conversation open while it exists. Never blocks.
    ///
    /// Use it for an answer that another thread writes. [`Hold`] describes its effect.
    ///
    /// ```
    /// # fn search(_: &[u8]) -> String { "found".to_owned() }
    /// # struct Search;
    /// # impl backport::Adapter for Search {
    /// fn receiving(&mut self, client: &backport::Client, query: &[u8]) -> backport::Result {
    ///     let (reply, query) = (client.hold(), query.to_vec());
    ///     std::thread::spawn(move || reply.write_line(search(&query)));
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[must_use = "dropping the hold lets the conversation end"]
    pub fn hold(&self) -> Hold {
        self.shared.state.lock().holds += 1;
        Hold { client: self.clone() }
    }
}

/// A guard that says that a conversation is not over yet. [`Client::hold`] returns it.
///
/// While a hold exists, neither the end of the peer's input nor a graceful stop ends the conversation. Reads
/// and writes go on as before, and [`closing`](crate::Adapter::closing) is called after the last hold is
/// dropped. If [`serving`](crate::Adapter::serving) returns `Ok` before, no more input is read, and the output
/// stays open until then. The same applies if it passes on the error of a read that has met a stop.
///
/// These events end the conversation even if a hold exists:
///
/// - [`close`](Client::close) and [`abort`](Client::abort),
/// - an error or a panic of a callback,
/// - the idle timeout and the write timeout,
/// - a lost connection,
/// - the drain timeout of a stop, and [`Machine::stop_now`](crate::Machine::stop_now).
///
/// A hold is a handle of its client: it has every method of [`Client`]. A clone is another hold. Any thread
/// may drop a hold, and that never blocks.
#[must_use = "dropping the hold lets the conversation end"]
pub struct Hold {
    client: Client,
}

impl Deref for Hold {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Clone for Hold {
    fn clone(&self) -> Hold {
        self.client.hold()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let shared = &self.client.shared;
        let mut state = shared.state.lock();
        state.holds -= 1;
        if state.holds == 0 {
            // The session may wait for this.
            shared.changed.notify_all();
            shared.stop_unless_held(state, false);
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("client", &self.client).finish()
    }
}
