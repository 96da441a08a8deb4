//! [`Clock`]: a clock for intervals and timeouts that the test moves.
//!
//! The scheduler's state has the clock's time. The scheduler's thread runs the jobs, and moves the time on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::scheduler::jobs::Jobs;

/// A clock for the intervals and timeouts of a machine, which only the test moves. A clone is the same clock.
///
/// [`advance`](Clock::advance) returns when every job that came due has run. Therefore the test of an
/// interval of one hour takes only moments, and always sees the same runs.
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use std::time::Duration;
/// use backport::{testing, Machine, Result};
///
/// # fn main() -> Result {
/// let machine = Machine::new();
/// let clock = testing::Clock::new(&machine);
/// let client = testing::connect(backport::receiving(|_, _| Ok(())));
///
/// // The code under test sends a line to every client, once in a minute.
/// let server = client.server().clone();
/// let beat = machine.prepare_interval(Duration::from_secs(60), move |interval| {
///     server.broadcast(format!("minute {}\n", interval.ticks()));
/// });
///
/// let running = machine.start()?;
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(beat.ticks(), 0);
/// clock.advance(Duration::from_secs(61));
/// assert_eq!(beat.ticks(), 2);
///
/// let said: Vec<String> = BufReader::new(&client).lines().take(2).collect::<Result<_, _>>()?;
/// assert_eq!(said, ["minute 1", "minute 2"]);
/// # running.stop()
/// # }
/// ```
///
/// It applies only to the jobs of [`prepare_interval`](Machine::prepare_interval) and
/// [`prepare_timeout`](Machine::prepare_timeout). Timeouts of clients, deadlines of reads and the drain
/// timeout use the system's clock.
#[derive(Clone)]
pub struct Clock {
    jobs: Arc<Jobs>,
    deadline: Duration,
}

impl Clock {
    /// Replaces the system's clock for all intervals and timeouts of `machine`, including jobs that are
    /// already prepared.
    ///
    /// # Panics
    /// Panics if the machine has begun to run or was stopped.
    #[must_use]
    pub fn new(machine: &Machine) -> Clock {
        match machine.set_manual_time() {
            Some(jobs) => Clock { jobs, deadline: Duration::from_secs(10) },
            None => panic!("the clock comes too late: the machine has begun to run or was stopped"),
        }
    }

    /// Sets how long [`advance`](Clock::advance) waits for the jobs before it panics. Default: 10 s.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Clock {
        Clock { deadline, ..self }
    }

    /// Moves the time forward by `by`. Blocks until every job that came due has run.
    ///
    /// The jobs run on the scheduler's thread, one after another, in the order in which they are due. Jobs
    /// that are due at the same time run in the order in which they were prepared.
    ///
    /// An interval runs once for each period. For example, if the time moves by ten seconds, an interval of
    /// one second runs ten times.
    ///
    /// While a job runs, the time stands still at the moment when the job was due. Therefore no run is late
    /// or skipped. If a job prepares another job, the delay of the new job begins at that moment. The new job
    /// runs in the same call if it comes due within `by`.
    ///
    /// [`Duration::ZERO`] runs the jobs that are due now.
    ///
    /// If the machine does not run yet, this waits for its start. After the machine has stopped, no job runs
    /// and this returns at once. The same applies if a job stops the machine.
    ///
    /// # Panics
    /// - Panics if the jobs have not finished within the [deadline](Clock::deadline), or if the machine has
    ///   not started by then.
    /// - Panics if a job calls this, because a job cannot wait for itself.
    /// - Panics if the clock cannot express the new time.
    pub fn advance(&self, by: Duration) {
        assert!(!self.jobs.is_scheduler_thread(), "a job cannot move the clock that it follows");
        assert!(self.jobs.now().checked_add(by).is_some(), "the clock cannot express a time {by:?} from now");
        // After the machine has stopped, no job is due.
        if let Some(arrived) = self.jobs.advance(by) {
            let timed_out = arrived.recv_timeout(self.deadline).is_err_and(|error| error.is_timeout());
            assert!(
                !timed_out,
                "the jobs have not finished within {:?}; either a job hangs, or the machine was not started",
                self.deadline
            );
        }
    }

    /// Returns the current time of this clock. In a job, this is the time at which the job was due. Does not
    /// block.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.jobs.now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}
