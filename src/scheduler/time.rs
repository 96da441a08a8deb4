//! The clock of the scheduler, which is the system's clock or a manual clock that a test moves.
//!
//! The scheduler's thread owns [`Time`]. A test shares [`ManualTime`] with that thread, and moves it with
//! commands.

use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::scheduler::Command;

/// A time that a test moves.
///
/// The time moves in the order of the scheduler's commands. Therefore every job that was added before a move
/// is known to it.
pub(crate) struct ManualTime {
    /// Written by the scheduler's thread, read by all threads.
    now: Mutex<Instant>,
    /// The scheduler's thread. Set by that thread when it starts, read by threads that move the time.
    thread: OnceLock<ThreadId>,
}

impl ManualTime {
    pub(super) fn new() -> ManualTime {
        ManualTime { now: Mutex::new(Instant::now()), thread: OnceLock::new() }
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Instant {
        *self.now.lock()
    }

    /// Returns `true` on the scheduler's thread, which cannot wait for itself.
    pub(crate) fn is_scheduler_thread(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }
}

/// The clock that the scheduler's thread uses.
pub(super) enum Time {
    /// The system's clock, with the time at which the scheduler's thread started.
    Real(Instant),
    Manual(ManualClock),
}

/// A manual time, and the time to which it moves.
pub(super) struct ManualClock {
    time: Arc<ManualTime>,
    /// The time to move to. Jobs that are due by then run first.
    target: Instant,
    /// Dropped when the time has reached the target. This wakes the threads that wait for that.
    waiting: Vec<Sender<()>>,
}

impl Time {
    /// Starts the clock, on the scheduler's thread.
    pub(super) fn start(manual: Option<&Arc<ManualTime>>) -> Time {
        match manual {
            None => Time::Real(Instant::now()),
            Some(time) => {
                time.thread.get_or_init(|| thread::current().id());
                let target = time.now();
                Time::Manual(ManualClock { time: Arc::clone(time), target, waiting: Vec::new() })
            }
        }
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> Instant {
        match self {
            Time::Real(_) => Instant::now(),
            Time::Manual(manual) => manual.time.now(),
        }
    }

    /// Returns the time at which the delay of a job begins, if the job was added at `added`.
    ///
    /// With the system's clock, no delay begins before the machine has started.
    pub(super) fn start_of_delay(&self, added: Instant) -> Instant {
        match self {
            Time::Real(started) => added.max(*started),
            Time::Manual(manual) => manual.time.now(),
        }
    }

    /// Waits for a command. Returns `None` at the time `due`, when the next job is due.
    pub(super) fn wait(&mut self, due: Option<Instant>, commands: &Receiver<Command>) -> Option<Command> {
        match (self, due) {
            // Without this check, commands that keep coming would delay a job that is due.
            (Time::Real(_), Some(due)) if due <= Instant::now() => None,
            (Time::Real(_), Some(due)) => commands.recv_deadline(due).ok(),
            (Time::Real(_), None) => commands.recv().ok(),
            // Commands come first, because the last job may have added a job that is due sooner.
            (Time::Manual(manual), due) => commands.try_recv().ok().or_else(|| {
                if due.is_some_and(|due| due <= manual.target) {
                    return None;
                }
                manual.reach_target();
                commands.recv().ok()
            }),
        }
    }

    /// Returns the time up to which jobs are due.
    pub(super) fn target(&self) -> Instant {
        match self {
            Time::Real(_) => Instant::now(),
            Time::Manual(manual) => manual.target,
        }
    }

    /// Sets a manual time to `due`. The time stays there while the job that is due then runs.
    pub(super) fn set_now(&self, due: Instant) {
        if let Time::Manual(manual) = self {
            *manual.time.now.lock() = due;
        }
    }

    /// Starts to move a manual time forward by `by`. `done` is dropped when the time has reached the target.
    pub(super) fn advance(&mut self, by: Duration, done: Sender<()>) {
        if let Time::Manual(manual) = self {
            // The thread that moves the time has checked the range of the clock.
            manual.target = manual.target.checked_add(by).unwrap_or(manual.target);
            manual.waiting.push(done);
        }
    }
}

impl ManualClock {
    /// Sets the time to the target, and wakes the threads that wait for that.
    fn reach_target(&mut self) {
        *self.time.now.lock() = self.target;
        self.waiting.clear();
    }
}
