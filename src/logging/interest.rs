//! A cache of the log levels that the logger wants from this crate.
//!
//! With `RUST_LOG=info,chat=trace`, `log::max_level` is trace, but the logger wants no trace records of this
//! crate. Without this cache, each read would format a record, take a lock and wake a thread, only for the
//! logger to ignore the record. All records of the crate have the same target, so the answer of the logger
//! depends only on the level. The answer is kept for a second, because a logger may change its filter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const KEPT: Duration = Duration::from_secs(1);

pub(crate) struct Interest {
    start: Instant,
    /// For each level, the time until which the logger does not want records of this level, in nanoseconds
    /// after `start`. Written by the log thread, and read by every thread that logs.
    unwanted_until: [AtomicU64; 6],
}

impl Interest {
    pub(crate) fn new(start: Instant) -> Interest {
        Interest { start, unwanted_until: Default::default() }
    }

    /// Returns `false` if the logger refused this level less than a second ago.
    pub(crate) fn is_wanted(&self, level: log::Level, now: Instant) -> bool {
        self.nanos(now) >= self.unwanted_until[level as usize].load(Ordering::Relaxed)
    }

    /// Stores the logger's answer.
    pub(crate) fn set(&self, level: log::Level, wanted: bool, now: Instant) {
        let until = if wanted { 0 } else { self.nanos(now + KEPT) };
        self.unwanted_until[level as usize].store(until, Ordering::Relaxed);
    }

    fn nanos(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.start).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level::{Debug, Trace};

    #[test]
    fn a_level_that_the_logger_refused_is_unwanted_for_a_second() {
        let start = Instant::now();
        let interest = Interest::new(start);
        assert!(interest.is_wanted(Trace, start));
        interest.set(Trace, false, start);
        assert!(!interest.is_wanted(Trace, start + Duration::from_millis(999)));
        assert!(interest.is_wanted(Debug, start), "each level has its own answer");
        assert!(interest.is_wanted(Trace, start + KEPT));
        interest.set(Trace, false, start + KEPT);
        interest.set(Trace, true, start + KEPT);
        assert!(interest.is_wanted(Trace, start + KEPT));
    }
}
