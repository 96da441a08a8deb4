//! Which of our levels the logger wants.
//!
//! `RUST_LOG=info,chat=trace` lets records of the level trace through to the logger, which then wants
//! none of ours. To find that out for each read of each client would cost the formatting, a lock and
//! a thread's wake-up; to ask the logger on the spot would be to call user code. But all our records
//! have one target, so there are five questions only, and their answers are kept for a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long an answer counts: a logger's filter may change.
const KEPT: Duration = Duration::from_secs(1);

/// The answers of one logger.
pub(crate) struct Interest {
    start: OnceLock<Instant>,
    /// For each level, the nanosecond after `start` until which it is not wanted. Written by the
    /// log_thread, read by all who have something to say.
    unwanted_until: [AtomicU64; 6],
}

impl Interest {
    pub(crate) const fn new() -> Interest {
        Interest { start: OnceLock::new(), unwanted_until: [const { AtomicU64::new(0) }; 6] }
    }

    /// Whether a record of this level is worth a question.
    pub(crate) fn is_wanted(&self, level: log::Level, now: Instant) -> bool {
        let until = self.unwanted_until[level as usize].load(Ordering::Relaxed);
        until == 0 || self.clock(now) >= until
    }

    /// The logger's answer.
    pub(crate) fn learn(&self, level: log::Level, wanted: bool, now: Instant) {
        let until = if wanted { 0 } else { self.clock(now) + KEPT.as_nanos() as u64 };
        self.unwanted_until[level as usize].store(until, Ordering::Relaxed);
    }

    fn clock(&self, now: Instant) -> u64 {
        let start = *self.start.get_or_init(|| now);
        now.saturating_duration_since(start).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_level_that_the_logger_does_not_want_is_asked_about_once_in_a_second() {
        let (interest, start) = (Interest::new(), Instant::now());
        assert!(interest.is_wanted(Level::Trace, start));
        interest.learn(Level::Trace, false, start);
        assert!(!interest.is_wanted(Level::Trace, start));
        assert!(!interest.is_wanted(Level::Trace, start + Duration::from_millis(999)));
        assert!(interest.is_wanted(Level::Debug, start), "each level has its own answer");
        assert!(interest.is_wanted(Level::Trace, start + KEPT));
        interest.learn(Level::Trace, true, start + KEPT);
        assert!(interest.is_wanted(Level::Trace, start + KEPT));
    }
}
