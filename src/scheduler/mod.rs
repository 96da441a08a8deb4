//! The scheduler: the intervals and timeouts of a machine, and the thread that runs them, one after another.
//!
//! The jobs are in one schedule, under one lock. The thread that adds or cancels a job changes the schedule
//! itself. There is no queue of commands, so nothing can pile up while the scheduler's thread is busy, and a
//! job that is due never waits for commands. The function of a cancelled job is dropped by the thread that
//! cancels it, because only then is the memory free at once, however long another job runs.
//!
//! The first job starts the scheduler's thread. The thread waits until the first job is due. Another thread
//! wakes it only if a new job is due earlier than that. The thread ends when the machine is asked to stop. A
//! job that is running then finishes first.
//!
//! - [`jobs`] has the schedule's lock, and the loop of the thread.
//! - [`schedule`] keeps the jobs in the order in which they are due.
//! - [`time`] is the clock, which is the system's clock or a manual clock that a test moves.
//! - [`interval`] is the handle of a job, for users.

pub(crate) mod interval;
pub(crate) mod jobs;
pub(crate) mod schedule;
pub(crate) mod time;

use std::sync::Arc;
use std::time::Duration;

use crate::event::Events;
use crate::logging::error;
use crate::scheduler::interval::Interval;
use crate::scheduler::jobs::{EndJobs, Jobs};
use crate::sync::atomic::AtomicBool;
use crate::threads::MachineThreads;

/// The scheduler of one machine, as the machine sees it.
pub(crate) struct Scheduler {
    threads: Arc<MachineThreads>,
    jobs: Arc<Jobs>,
}

/// The function of a job, and when to run it.
pub(crate) enum Work {
    /// Runs once in each period.
    Every(Duration, Box<dyn FnMut(&Interval) + Send>),
    /// Runs once after the delay. The run takes the function.
    Once(Duration, Option<Box<dyn FnOnce() + Send>>),
}

impl Work {
    fn delay(&self) -> Duration {
        match self {
            Work::Every(delay, _) | Work::Once(delay, _) => *delay,
        }
    }
}

impl Scheduler {
    pub(crate) fn new(threads: Arc<MachineThreads>, events: Events, stopping: Arc<AtomicBool>) -> Scheduler {
        Scheduler { threads, jobs: Jobs::new(events, stopping) }
    }

    /// Returns how many jobs have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.jobs.pending()
    }

    /// Adds a job. If the machine has already stopped, returns an interval that is already stopped.
    pub(crate) fn add(&self, work: Work) -> Interval {
        self.start();
        self.jobs.add(work)
    }

    /// Replaces the system's clock with a clock that [`Jobs::advance`] moves. Has no effect after the thread
    /// has started.
    pub(crate) fn set_manual(&self) -> Arc<Jobs> {
        // The thread is needed even without a job, because it moves the time.
        self.start();
        self.jobs.set_manual();
        Arc::clone(&self.jobs)
    }

    /// Starts the thread, unless that was done before.
    fn start(&self) {
        if !self.jobs.begin_start() {
            return;
        }
        // If the thread never runs, the guard drops with this closure.
        let end = EndJobs(Arc::clone(&self.jobs));
        let run = move || end.run();
        if let Err(error) = self.threads.spawn_user_code("backport-scheduler".to_owned(), run) {
            // If the machine is stopping, it starts no more threads, and this is not a failure.
            if !self.jobs.is_stopping() {
                error!("cannot start the thread that runs the intervals: {error}");
                // The next job tries again.
                self.jobs.start_failed();
            }
        }
    }

    /// Makes the thread cancel all jobs and end. A job that is running finishes first. Returns at once.
    ///
    /// The caller must set the machine's flag before.
    pub(crate) fn stop(&self) {
        debug_assert!(self.jobs.is_stopping(), "the machine sets its flag first");
        self.jobs.wake();
    }

    /// Notes that `JobEnded` was received. The caller must read [`Scheduler::pending`] after this.
    pub(crate) fn job_ended_received(&self) {
        self.jobs.end_received();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::sync::channel::unbounded;

    #[test]
    fn jobs_that_are_added_and_cancelled_leave_no_entry_and_at_most_one_event() {
        let (events, received) = unbounded();
        let scheduler = Scheduler::new(MachineThreads::new(), events, Arc::default());
        let hour = Duration::from_secs(3600);
        // The scheduler's thread does not run, so nothing else can take away what these calls leave behind.
        for round in 1..=3 {
            for _ in 0..1_000 {
                scheduler.add(Work::Once(hour, Some(Box::new(|| ())))).stop();
            }
            assert_eq!(scheduler.pending(), 0);
            assert!(scheduler.jobs.is_empty());
            assert_eq!(received.len(), 1, "in round {round}");
            assert!(matches!(received.recv(), Ok(Event::JobEnded)));
            scheduler.job_ended_received();
        }
        let first = scheduler.add(Work::Once(hour, Some(Box::new(|| ()))));
        scheduler.add(Work::Once(hour, Some(Box::new(|| ())))).stop();
        assert!(received.is_empty(), "it was not the last job");
        first.stop();
        assert_eq!(received.len(), 1);
    }
}
