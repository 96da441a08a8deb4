//! The watcher where sockets can't be watched: Windows wants sockets of mio's own for that. Waits
//! poll there, see [`super::parking`].

use std::sync::Arc;

use crate::threads::Threads;

/// Watches nothing.
pub(crate) struct Watcher;

impl Watcher {
    pub(crate) fn new(_: Arc<Threads>) -> Watcher {
        Watcher
    }

    pub(crate) fn stop(&self) {}
}
