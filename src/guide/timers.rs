//! Timers: intervals that repeat a job, and timeouts that run it once.
//!
//! [`Machine::prepare_interval`] and [`Machine::prepare_timeout`] may be called before the machine runs
//! and while it runs. Both return an [`Interval`], which stops the job and counts how often it ran.
//!
//! ```
//! use std::time::Duration;
//! use backport::{Machine, Result};
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let ticker = machine.prepare_interval(Duration::from_millis(1), |interval| {
//!     if interval.ticks() == 3 {
//!         interval.stop();
//!     }
//! });
//! machine.run()?; // returns, because the last interval of a machine without servers has stopped
//! assert_eq!(ticker.ticks(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! - The first run comes one period after the call, or after the start of the machine if that is later.
//! - The rate is fixed, on the monotonic clock. Ticks that a slow job has missed are skipped.
//! - All jobs of a machine share one thread. A slow job delays the next, so give long work to a thread of
//!   your own.
//! - A job that panics is logged and cancelled. The other jobs continue.
//! - A stop cancels all jobs.
//!
//! [`testing::Clock`](crate::testing::Clock) moves the time by hand, so a test does not wait.
//!
//! [`Interval`]: crate::Interval
//! [`Machine::prepare_interval`]: crate::Machine::prepare_interval
//! [`Machine::prepare_timeout`]: crate::Machine::prepare_timeout
