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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline_or_with_a_ring_that_came_before() {
        let bell = Arc::new(Bell::default());
        let (sender, over) = crossbeam_channel::bounded(1);
        let waiter = Arc::clone(&bell);
        let thread = std::thread::spawn(move || {
            let rings = waiter.rings();
            waiter.wait(rings, Some(Instant::now()));
            waiter.ring();
            waiter.wait(rings, None);
            sender.send(()).unwrap();
        });
        over.recv_timeout(Duration::from_secs(20)).expect("both waits end");
        thread.join().unwrap();
        assert_eq!(bell.rings(), 1);
    }
}
