//! The handle of a periodic job or a timeout.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::scheduler::Command;

/// A periodic job, or a timeout, on a machine. Cloneable; dropping it leaves the job as it is. No
/// method blocks.
#[derive(Clone)]
pub struct Interval {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    /// Set by whoever stops it, or by the scheduler when it has ended; read by all.
    stopped: AtomicBool,
    /// Counted up by the scheduler alone.
    ticks: AtomicU64,
    commands: Sender<Command>,
}

impl Interval {
    pub(crate) fn new(id: u64, commands: Sender<Command>) -> Interval {
        let shared = Shared { id, stopped: AtomicBool::new(false), ticks: AtomicU64::new(0), commands };
        Interval { shared: Arc::new(shared) }
    }

    /// Cancels the job; it may be called from the job itself, which then runs to its end for the
    /// last time. Returns at once; a second call does nothing.
    pub fn stop(&self) {
        if !self.end() {
            // After the machine's end there is no one left to tell.
            drop(self.shared.commands.send(Command::Cancel(self.shared.id)));
        }
    }

    /// Whether it was stopped or has ended: by [`stop`](Interval::stop), with its machine, by a
    /// panic in the job, or, for a timeout, because it has run.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// How many times the job was begun.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Acquire)
    }

    /// Marks it as stopped, and says whether it was before.
    pub(crate) fn end(&self) -> bool {
        self.shared.stopped.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn tick(&self) {
        self.shared.ticks.fetch_add(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval").field("ticks", &self.ticks()).field("stopped", &self.is_stopped()).finish()
    }
}
