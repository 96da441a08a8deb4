//! [`Interval`]: the handle of a periodic job or a timeout.
//!
//! The user's clones and the scheduler's job share its state, which is freed when the last of them is dropped.

use std::fmt;
use std::sync::Arc;

use crate::scheduler::jobs::Jobs;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// The jobs of the machine, from which `stop` removes this one. They are empty after the machine has
    /// stopped.
    jobs: Arc<Jobs>,
}

impl Interval {
    pub(super) fn new(id: u64, jobs: Arc<Jobs>) -> Interval {
        let shared = IntervalShared { id, stopped: AtomicBool::new(false), ticks: AtomicU64::new(0), jobs };
        Interval { shared: Arc::new(shared) }
    }

    /// Cancels the job. Returns at once, also while another job runs. A second call does nothing.
    ///
    /// It may be called from any thread, and from the job itself. A run that has begun finishes, and no
    /// further run begins.
    ///
    /// If the job is not running, its function is dropped in this call, on the calling thread, together with
    /// the values that the function has captured. A panic of such a drop is logged and does not reach the
    /// caller. Do not call this while you hold a lock that the drop of a captured value needs. If the job is
    /// running, its function is dropped after the run, on the scheduler's thread.
    ///
    /// A stopped job leaves nothing behind. Therefore a program may prepare and stop a timeout for each message.
    pub fn stop(&self) {
        if !self.mark_stopped() {
            self.shared.jobs.cancel(self.shared.id);
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
