//! The clock of the scheduler, which is the system's clock or a manual clock that a test moves.
//!
//! It is part of the scheduler's state, under the scheduler's lock.

use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::scheduler::schedule::Due;

/// The clock of one scheduler.
pub(super) struct Time {
    source: Source,
    /// The scheduler's thread. Set when that thread starts, which starts the clock.
    thread: Option<ThreadId>,
}

enum Source {
    /// The system's clock.
    Real,
    Manual(ManualClock),
}

/// A time that a test moves.
struct ManualClock {
    now: Instant,
    /// The time to move to. Jobs that are due by then run first.
    target: Instant,
    /// Dropped when the time has reached the target. This wakes the threads that wait for that.
    waiting: Vec<Sender<()>>,
}

impl Time {
    pub(super) fn new() -> Time {
        Time { source: Source::Real, thread: None }
    }

    /// Replaces the system's clock, unless that was done before.
    pub(super) fn set_manual(&mut self) {
        if let Source::Real = self.source {
            let now = Instant::now();
            self.source = Source::Manual(ManualClock { now, target: now, waiting: Vec::new() });
        }
    }

    /// Starts the clock, on the scheduler's thread. Returns the time at which the delays of earlier jobs begin.
    pub(super) fn start(&mut self) -> Instant {
        self.thread = Some(thread::current().id());
        self.now()
    }

    /// Returns `true` on the scheduler's thread.
    pub(super) fn is_own_thread(&self) -> bool {
        self.thread == Some(thread::current().id())
    }

    /// Returns the current time. While a job runs, a manual time is the time at which the job was due.
    pub(super) fn now(&self) -> Instant {
        match &self.source {
            Source::Real => Instant::now(),
            Source::Manual(manual) => manual.now,
        }
    }

    /// Returns the time at which the delay of a new job begins. Returns `None` before the clock has started,
    /// because no delay begins before the machine runs.
    pub(super) fn start_of_delay(&self) -> Option<Instant> {
        self.thread.map(|_| self.now())
    }

    /// Returns the time up to which jobs are due.
    pub(super) fn target(&self) -> Instant {
        match &self.source {
            Source::Real => Instant::now(),
            Source::Manual(manual) => manual.target,
        }
    }

    /// Returns the time at which the thread must wake if the next job is due at `next`. A manual clock never
    /// wakes it by itself.
    pub(super) fn wake_up(&self, next: Option<Instant>) -> Option<Instant> {
        match &self.source {
            Source::Real => next,
            Source::Manual(_) => None,
        }
    }

    /// Sets a manual time to `due`. The time stays there while the job that is due then runs.
    pub(super) fn set_now(&mut self, due: Due) {
        if let (Source::Manual(manual), Due::At(due)) = (&mut self.source, due) {
            manual.now = due;
        }
    }

    /// Starts to move a manual time forward by `by`. `done` is dropped when the time has reached the target.
    pub(super) fn advance(&mut self, by: Duration, done: Sender<()>) {
        if let Source::Manual(manual) = &mut self.source {
            // The thread that moves the time has checked the range of the clock.
            manual.target = manual.target.checked_add(by).unwrap_or(manual.target);
            manual.waiting.push(done);
        }
    }

    /// Sets a manual time to its target. Returns the senders to drop without the lock.
    #[must_use]
    pub(super) fn reach_target(&mut self) -> Vec<Sender<()>> {
        if let Source::Manual(manual) = &mut self.source {
            manual.now = manual.target;
        }
        self.take_waiting()
    }

    /// Takes the senders of the threads that wait for a manual time.
    #[must_use]
    pub(super) fn take_waiting(&mut self) -> Vec<Sender<()>> {
        match &mut self.source {
            Source::Real => Vec::new(),
            Source::Manual(manual) => std::mem::take(&mut manual.waiting),
        }
    }
}
