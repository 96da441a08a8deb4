//! Timers: intervals that repeat a job, and timeouts that run it once.
//!
//! [`Machine::prepare_interval`] and [`Machine::prepare_timeout`] may be called before the machine runs and
//! while it runs. Both return an [`Interval`], which can stop the job and counts its runs.
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
//! - The first run comes one period after the call, or one period after the machine starts if that is later.
//! - The rate is fixed and follows the monotonic clock. Runs that a slow job has missed are skipped.
//! - All jobs of a machine share one thread. A slow job delays the others, so do long work on your own
//!   thread.
//! - A job that panics is logged and cancelled. The other jobs continue.
//! - A stop cancels all jobs.
//! - A job that is due runs at once, also while many threads prepare and stop other jobs.
//!
//! # A timeout for each message
//!
//! A job that is stopped leaves nothing behind. Therefore a program may stop a timeout and prepare a new one for
//! each message, for example to notice a client that is silent for too long. Both take about a microsecond, also
//! among many jobs, and neither waits for a job that is running.
//!
//! [`Interval::stop`](crate::Interval::stop) drops the function of the job, and the values that the function has
//! captured, on the calling thread. If the job is running, the scheduler's thread drops them after the run. Do not
//! stop a job while you hold a lock that such a drop needs.
//!
//!
//! In a test, [`testing::Clock`](crate::testing::Clock) replaces the clock, so the test does not wait.
//!
//! [`Interval`]: crate::Interval
//! [`Machine::prepare_interval`]: crate::Machine::prepare_interval
//! [`Machine::prepare_timeout`]: crate::Machine::prepare_timeout
