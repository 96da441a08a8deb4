//! The watcher where sockets can't be watched: Windows wants sockets of mio's own for that. Waits
//! poll there, see [`super::parking`].

use std::sync::{Arc, Weak};

use crate::threads::Threads;

/// Who would be come back to.
pub(crate) trait Overdue: Send + Sync {
    #[allow(dead_code, reason = "nobody comes back to anyone")]
    fn overdue(&self, reminders: u32) -> bool;
}

/// Watches nothing.
pub(crate) struct Watcher;

impl Watcher {
    pub(crate) fn new(_: Arc<Threads>) -> Watcher {
        Watcher
    }

    pub(crate) fn prepare(&self) {}

    /// Every reader looks up by itself, before long.
    pub(crate) fn give_notice(&self, _: Weak<dyn Overdue>) -> bool {
        true
    }

    pub(crate) fn stop(&self) {}
}
