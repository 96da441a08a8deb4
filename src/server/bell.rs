//! What acceptors wait on while they may not accept: rung at every change that may let them go on.

use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// Rung by any thread, awaited by acceptors.
#[derive(Default)]
pub(crate) struct Bell {
    /// How often it was rung: who has counted before it looked around misses no ring after that.
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    pub(crate) fn rings(&self) -> u64 {
        *self.rings.lock()
    }

    pub(crate) fn ring(&self) {
        *self.rings.lock() += 1;
        self.rung.notify_all();
    }

    /// Blocks until it was rung more often than `rings`, or until `deadline`.
    pub(crate) fn wait(&self, rings: u64, deadline: Option<Instant>) {
        let mut now = self.rings.lock();
        while *now == rings {
            match deadline {
                None => self.rung.wait(&mut now),
                Some(deadline) if self.rung.wait_until(&mut now, deadline).timed_out() => return,
                Some(_) => {}
            }
        }
    }
}
