//! [`Limits`]: the limits of a server, which may change while it runs.
//!
//! The server's state, its handles and its clients share one value of this type.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The limits of one server.
///
/// The server's builder sets them. Later, any thread may change them through the handle. The acceptor and the
/// threads of clients read a limit each time they need it. No limit depends on another, so `Relaxed` is
/// enough.
#[derive(Debug)]
pub(crate) struct Limits {
    max_clients: AtomicUsize,
    /// `true` if the limits come from a builder. Other servers have at most one client.
    of_builder: AtomicBool,
    max_backlog: AtomicUsize,
    /// In microseconds. [`NONE`] means no timeout.
    idle_timeout: AtomicU64,
    /// In microseconds.
    write_timeout: AtomicU64,
    /// In microseconds. [`NONE`] means no timeout.
    stall_timeout: AtomicU64,
}

/// A time that is longer than any connection lasts. It is safe to add to the clock.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The value of a timeout that is not set.
const NONE: u64 = u64::MAX;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_clients: AtomicUsize::new(1_024),
            of_builder: AtomicBool::new(false),
            max_backlog: AtomicUsize::new(1024 * 1024),
            idle_timeout: AtomicU64::new(NONE),
            write_timeout: AtomicU64::new(micros(Duration::from_secs(30))),
            stall_timeout: AtomicU64::new(NONE),
        }
    }
}

impl Limits {
    /// Copies all limits of a builder.
    pub(crate) fn take(&self, other: &Limits) {
        self.of_builder.store(true, Ordering::Relaxed);
        self.set_max_clients(other.max_clients());
        self.set_max_backlog(other.max_backlog());
        self.set_idle_timeout(other.idle_timeout());
        self.set_write_timeout(other.write_timeout());
        self.set_stall_timeout(other.stall_timeout());
    }

    pub(crate) fn max_clients(&self) -> usize {
        self.max_clients.load(Ordering::Relaxed)
    }

    /// Returns how many clients the server can have at once. It is one for a server without a limit, for
    /// example a stdio server.
    pub(crate) fn total_clients(&self) -> usize {
        if self.of_builder.load(Ordering::Relaxed) {
            self.max_clients()
        } else {
            1
        }
    }

    /// Sets how many clients are served at once. Zero counts as one.
    pub(crate) fn set_max_clients(&self, limit: usize) {
        self.max_clients.store(limit.max(1), Ordering::Relaxed);
    }

    pub(crate) fn max_backlog(&self) -> usize {
        self.max_backlog.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_backlog(&self, limit: usize) {
        self.max_backlog.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        optional(&self.idle_timeout)
    }

    pub(crate) fn set_idle_timeout(&self, limit: Option<Duration>) {
        self.idle_timeout.store(limit.map_or(NONE, micros), Ordering::Relaxed);
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_micros(self.write_timeout.load(Ordering::Relaxed))
    }

    pub(crate) fn set_write_timeout(&self, limit: Duration) {
        self.write_timeout.store(micros(limit), Ordering::Relaxed);
    }

    /// Returns after how long without any progress of a write the peer counts as vanished.
    pub(crate) fn stall_timeout(&self) -> Option<Duration> {
        optional(&self.stall_timeout)
    }

    pub(crate) fn set_stall_timeout(&self, limit: Option<Duration>) {
        self.stall_timeout.store(limit.map_or(NONE, micros), Ordering::Relaxed);
    }
}

fn optional(limit: &AtomicU64) -> Option<Duration> {
    match limit.load(Ordering::Relaxed) {
        NONE => None,
        limit => Some(Duration::from_micros(limit)),
    }
}

/// Returns a duration in microseconds, but at most a year, which is safe to add to a clock.
pub(crate) fn micros(limit: Duration) -> u64 {
    u64::try_from(limit.min(YEAR).as_micros()).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_documented_defaults() {
        let limits = Limits::default();
        assert_eq!(limits.max_clients(), 1_024);
        assert_eq!(limits.max_backlog(), 1_048_576);
        assert_eq!(limits.idle_timeout(), None);
        assert_eq!(limits.write_timeout(), Duration::from_secs(30));
        assert_eq!(limits.stall_timeout(), None);
    }

    #[test]
    fn the_limits_of_a_builder_are_copied() {
        let set = Limits::default();
        set.set_max_clients(0);
        set.set_max_backlog(2);
        set.set_idle_timeout(Some(Duration::from_millis(3)));
        set.set_write_timeout(Duration::from_millis(4));
        set.set_stall_timeout(Some(Duration::from_millis(5)));
        let limits = Limits::default();
        limits.take(&set);
        assert_eq!(limits.max_clients(), 1, "a server serves at least one client");
        assert_eq!(limits.max_backlog(), 2);
        assert_eq!(limits.idle_timeout(), Some(Duration::from_millis(3)));
        assert_eq!(limits.write_timeout(), Duration::from_millis(4));
        assert_eq!(limits.stall_timeout(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_duration_over_a_year_is_cut_to_a_year() {
        let limits = Limits::default();
        limits.set_idle_timeout(Some(Duration::MAX));
        assert_eq!(limits.idle_timeout(), Some(Duration::from_secs(31_536_000)));
    }
}
