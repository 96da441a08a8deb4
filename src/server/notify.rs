//! The place where an acceptor waits while it may not accept.

use std::time::Instant;

use crate::sync::{Condvar, Mutex};

/// Notified by any thread that changes something that an acceptor waits for. Acceptors wait for this.
#[derive(Default)]
pub(crate) struct Notify {
    /// The number of notifications. A thread that reads it before it checks the state misses no change.
    count: Mutex<u64>,
    changed: Condvar,
}

impl Notify {
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock()
    }

    pub(crate) fn notify(&self) {
        *self.count.lock() += 1;
        self.changed.notify_all();
    }

    /// Blocks until there have been more than `seen` notifications, or until `deadline`.
    pub(crate) fn wait(&self, seen: u64, deadline: Option<Instant>) {
        let mut count = self.count.lock();
        while *count == seen {
            match deadline {
                None => self.changed.wait(&mut count),
                Some(deadline) if self.changed.wait_until(&mut count, deadline).timed_out() => return,
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
    fn a_wait_ends_at_its_deadline_or_with_an_earlier_notification() {
        let notify = Arc::new(Notify::default());
        let (sender, ended) = crossbeam_channel::bounded(1);
        let waiter = Arc::clone(&notify);
        let thread = std::thread::spawn(move || {
            let seen = waiter.count();
            waiter.wait(seen, Some(Instant::now()));
            waiter.notify();
            waiter.wait(seen, None);
            sender.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("both waits end");
        thread.join().unwrap();
        assert_eq!(notify.count(), 1);
    }
}
