//! [`Counters`]: how often things have happened at a server.

use std::sync::Arc;

use crate::closing::Closing;
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Written by the acceptor and by sessions, and read by threads that ask for the statistics. No counter depends
/// on another, so `Relaxed` is enough.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) refused: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    by_peer: AtomicU64,
    by_server: AtomicU64,
    stopping: AtomicU64,
    lost: AtomicU64,
    panics: AtomicU64,
    failures: AtomicU64,
    idle_timeouts: AtomicU64,
    too_slow: AtomicU64,
    /// Written by the crews of the server.
    pub(crate) take_overs: Arc<AtomicU64>,
}

impl Counters {
    /// Counts how a client ended.
    pub(crate) fn count(&self, reason: &Closing) {
        let counter = match reason {
            Closing::ByPeer => &self.by_peer,
            Closing::ByServer => &self.by_server,
            Closing::Stopping => &self.stopping,
            Closing::Lost(_) => &self.lost,
            Closing::Panicked(_) => &self.panics,
            Closing::Failed(_) => &self.failures,
            Closing::Idle => &self.idle_timeouts,
            Closing::TooSlow => &self.too_slow,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a panic at the end of a client that has not ended because of a panic.
    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the counters to the statistics of the server.
    pub(crate) fn add_to(&self, stats: &mut ServerStats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.refused += read(&self.refused);
        stats.accept_errors += read(&self.accept_errors);
        stats.handshakes_failed += read(&self.handshakes_failed);
        stats.by_peer += read(&self.by_peer);
        stats.by_server += read(&self.by_server);
        stats.stopping += read(&self.stopping);
        stats.lost += read(&self.lost);
        stats.panics += read(&self.panics);
        stats.failures += read(&self.failures);
        stats.idle_timeouts += read(&self.idle_timeouts);
        stats.too_slow += read(&self.too_slow);
        stats.take_overs += read(&self.take_overs);
    }
}
