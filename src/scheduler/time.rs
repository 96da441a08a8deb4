//! What time it is for a scheduler: by the system's clock, or by one that a test moves on.

use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::scheduler::Command;

/// The time that a test moves. It moves in the order of the scheduler's commands, so that a job is
/// entered before or after a move, and never in the middle of one.
pub(crate) struct ManualTime {
    /// Written by the scheduler's thread, read by whoever asks.
    now: Mutex<Instant>,
    /// The scheduler's, once it runs.
    thread: OnceLock<ThreadId>,
}

impl ManualTime {
    pub(super) fn new() -> ManualTime {
        ManualTime { now: Mutex::new(Instant::now()), thread: OnceLock::new() }
    }

    pub(crate) fn now(&self) -> Instant {
        *self.now.lock()
    }

    /// Whether this is the scheduler's thread: it can't wait for itself.
    pub(crate) fn is_asked_by_a_job(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }
}

/// What the scheduler's thread asks for the time.
pub(super) enum Time {
    /// The system's, and when the machine started.
    Real(Instant),
    Manual(Moving),
}

/// A manual time on its way.
pub(super) struct Moving {
    time: Arc<ManualTime>,
    /// Where it moves to.
    target: Instant,
    /// Dropped when it is there: then those who wait go on.
    waiting: Vec<Sender<()>>,
}

impl Time {
    pub(super) fn start(manual: Option<&Arc<ManualTime>>) -> Time {
        match manual {
            None => Time::Real(Instant::now()),
            Some(time) => {
                time.thread.get_or_init(|| thread::current().id());
                let target = time.now();
                Time::Manual(Moving { time: Arc::clone(time), target, waiting: Vec::new() })
            }
        }
    }

    pub(super) fn now(&self) -> Instant {
        match self {
            Time::Real(_) => Instant::now(),
            Time::Manual(moving) => moving.time.now(),
        }
    }

    /// From when the delay of a job counts that was added at this time: the start of the machine at
    /// the earliest.
    pub(super) fn begin(&self, added: Instant) -> Instant {
        match self {
            Time::Real(started) => added.max(*started),
            Time::Manual(moving) => moving.time.now(),
        }
    }

    /// Waits for a command; `None` when the job is to run that is due at `due`.
    pub(super) fn wait(&mut self, due: Option<Instant>, commands: &Receiver<Command>) -> Option<Command> {
        match (self, due) {
            (Time::Real(_), Some(due)) => commands.recv_deadline(due).ok(),
            (Time::Real(_), None) => commands.recv().ok(),
            // Commands come first: the job before may have added one that is due sooner.
            (Time::Manual(moving), due) => commands.try_recv().ok().or_else(|| {
                if due.is_some_and(|due| due <= moving.target) {
                    return None;
                }
                moving.arrive();
                commands.recv().ok()
            }),
        }
    }

    /// What is due by then is to run.
    pub(super) fn horizon(&self) -> Instant {
        match self {
            Time::Real(_) => Instant::now(),
            Time::Manual(moving) => moving.target,
        }
    }

    /// It is time for a job that is due at `due`: a manual time stands there while it runs.
    pub(super) fn reach(&self, due: Instant) {
        if let Time::Manual(moving) = self {
            *moving.time.now.lock() = due;
        }
    }

    /// Moves a manual time on; `done` is dropped when it is there.
    pub(super) fn advance(&mut self, by: Duration, done: Sender<()>) {
        if let Time::Manual(moving) = self {
            // Whoever asks for it sees to it that the clock's range is enough.
            moving.target = moving.target.checked_add(by).unwrap_or(moving.target);
            moving.waiting.push(done);
        }
    }
}

impl Moving {
    fn arrive(&mut self) {
        *self.time.now.lock() = self.target;
        self.waiting.clear();
    }
}
