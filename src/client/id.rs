//! A client's number.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A client's number: unique in the process, in the order in which clients connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u64);

impl ClientId {
    pub(crate) fn next() -> ClientId {
        /// Counted up by acceptors, for nothing but distinct numbers.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ClientId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
