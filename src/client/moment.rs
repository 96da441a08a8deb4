//! [`Moment`]: a time that is cheap to take.

use std::num::NonZeroU64;
use std::time::Duration;

use coarsetime::{Duration as Ticks, Instant};

/// A point in time of a coarse clock, which the kernel updates every few milliseconds. Each message reads this clock
/// twice. One look takes a fifth of the time that the clock of the standard library takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// The beginning of the clock.
    #[cfg(test)]
    pub(super) const FIRST: Moment = Moment(NonZeroU64::MIN);

    pub(crate) fn now() -> Moment {
        Moment::at(Instant::now_without_cache_update().as_ticks())
    }

    pub(super) fn at(ticks: u64) -> Moment {
        Moment(NonZeroU64::new(ticks).unwrap_or(NonZeroU64::MIN))
    }

    /// The unit and the beginning belong to the clock. The highest bit is never set.
    pub(super) fn ticks(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn elapsed(self) -> Duration {
        Ticks::from_ticks(Moment::now().ticks().saturating_sub(self.ticks())).into()
    }
}
