//! Intervals and timeouts without waiting: a clock that the test moves.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Sender};

use crate::machine::Machine;
use crate::scheduler::time::ManualTime;
use crate::scheduler::Command;

/// The clock of a machine's intervals and timeouts, moved by the test alone.
///
/// [`advance`](Clock::advance) returns when everything has run that came due on the way, so that a
/// test of an interval of an hour takes no time and always sees the same.
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
/// // What is to be tested: a line to everyone, each minute.
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
/// Only what [`prepare_interval`](Machine::prepare_interval) and
/// [`prepare_timeout`](Machine::prepare_timeout) prepare goes by it. Timeouts of clients, deadlines of
/// reads and the drain timeout stay with the system's clock. Clones are the same clock.
#[derive(Clone)]
pub struct Clock {
    time: Arc<ManualTime>,
    commands: Sender<Command>,
    deadline: Duration,
}

impl Clock {
    /// Takes the place of the system's clock for `machine`, whatever was prepared on it already.
    ///
    /// # Panics
    /// If the machine has begun to run, or was stopped.
    #[must_use]
    pub fn new(machine: &Machine) -> Clock {
        match machine.set_manual_time() {
            Some((time, commands)) => Clock { time, commands, deadline: Duration::from_secs(10) },
            None => panic!("the clock comes too late: the machine has begun to run, or was stopped"),
        }
    }

    /// How long [`advance`](Clock::advance) waits for the jobs before it panics. Default: 10 s.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Clock {
        Clock { deadline, ..self }
    }

    /// Moves the time on by `by`, and returns when each job that came due has run.
    ///
    /// They run on the scheduler's thread, one after another, in the order in which they are due; at
    /// the same time, in the order in which they were prepared. An interval runs once for each
    /// period: ten times when a second's interval is advanced by ten. While a job runs the time
    /// stands where it was due, so no beat is ever late or skipped, and what the job itself prepares
    /// counts from there, and runs in the same call if it comes due within it. With
    /// [`Duration::ZERO`] the time stays, and what is due runs.
    ///
    /// Before the machine runs it waits for the start. Once the machine has stopped, or was stopped
    /// by a job on the way, nothing more runs, and it returns at once.
    ///
    /// # Panics
    /// If the jobs have not ended within the [deadline](Clock::deadline), or the machine has not
    /// started; in a job, which can't wait for itself; and beyond the clock's range.
    pub fn advance(&self, by: Duration) {
        assert!(!self.time.is_scheduler_thread(), "a job can't move the clock that it runs by");
        assert!(self.time.now().checked_add(by).is_some(), "{by:?} are beyond the clock's range");
        let (done, arrived) = bounded(0);
        // It fails once the machine has stopped; then nothing is due.
        if self.commands.send(Command::Advance(by, done)).is_ok() {
            let timed_out = arrived.recv_timeout(self.deadline).is_err_and(|error| error.is_timeout());
            assert!(
                !timed_out,
                "after {:?} the clock has not arrived: a job hangs, or the machine was not started",
                self.deadline
            );
        }
    }

    /// What time it is: for code that is told the time, and to see in a job when it was due.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.time.now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}
