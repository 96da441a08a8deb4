//! [`Moment`]: a time that is cheap to take.

use std::time::Duration;

use coarsetime::{Duration as Ticks, Instant};

/// A point in time of a coarse clock, which the kernel updates every few milliseconds. Each message reads this clock
/// twice. One look takes a fifth of the time that the clock of the standard library takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The unit and the beginning belong to the clock. The highest bit is never set.
    pub(super) ticks: u64,
}

impl Moment {
    pub(crate) fn now() -> Moment {
        Moment { ticks: Instant::now_without_cache_update().as_ticks() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        Ticks::from_ticks(Moment::now().ticks.saturating_sub(self.ticks)).into()
    }
}
