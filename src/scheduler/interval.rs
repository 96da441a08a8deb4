//! [`Interval`]: the handle of a periodic job or a timeout.
//!
//! The user's clones and the scheduler's entry share its state, which is freed when the last of them is
//! dropped.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::scheduler::Command;

/// A periodic job or a timeout on a machine.
///
/// A clone is a handle of the same interval. Dropping an interval does not stop its job. No method blocks.
#[derive(Clone)]
pub struct Interval {
    shared: Arc<IntervalShared>,
}

/// The state that all clones of one interval share.
struct IntervalShared {
    id: u64,
    /// Set by the thread that stops the interval, or by the scheduler when the job has ended. Read by any
    /// thread.
    stopped: AtomicBool,
    /// Increased only by the scheduler's thread. Read by any thread.
    ticks: AtomicU64,
    /// Wakes the scheduler's thread, so that it drops the job after a stop.
    commands: Sender<Command>,
}

impl Interval {
    pub(crate) fn new(id: u64, commands: Sender<Command>) -> Interval {
        let shared =
            IntervalShared { id, stopped: AtomicBool::new(false), ticks: AtomicU64::new(0), commands };
        Interval { shared: Arc::new(shared) }
    }

    /// Cancels the job. Returns at once. A second call does nothing.
    ///
    /// It may be called from any thread, and from the job itself. A run that has begun finishes, and no
    /// further run begins.
    pub fn stop(&self) {
        if !self.mark_stopped() {
            // This fails after the machine has stopped.
            drop(self.shared.commands.send(Command::Cancel(self.shared.id)));
        }
    }

    /// Returns `true` if the job will not run again.
    ///
    /// The reason is one of these:
    ///
    /// - [`stop`](Interval::stop) was called.
    /// - The machine has stopped.
    /// - The job has panicked.
    /// - The interval is a timeout, and its job has run.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Returns how many runs of the job have begun.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Acquire)
    }

    /// Marks the interval as stopped. Returns `true` if it was stopped before.
    pub(super) fn mark_stopped(&self) -> bool {
        self.shared.stopped.swap(true, Ordering::AcqRel)
    }

    /// Counts a run that begins.
    pub(super) fn count_tick(&self) {
        self.shared.ticks.fetch_add(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval").field("ticks", &self.ticks()).field("stopped", &self.is_stopped()).finish()
    }
}
