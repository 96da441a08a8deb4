//! [`ClientId`]: the number of a client. The process never uses a number twice.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a client. It is unique in the process, and increases with each client that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u64);

impl ClientId {
    /// Makes a number that no other client has.
    pub(crate) fn next() -> ClientId {
        /// Increased by the threads that accept clients. Nothing else depends on it, so `Relaxed` is enough.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ClientId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
