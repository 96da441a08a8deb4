//! [`Activity`]: since when a client has sent nothing, and since when its adapter is at work.

use std::time::Duration;

// These are statistics, and nothing depends on them. Therefore they are no steps of the interleaving tests.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::moment::Moment;

/// The activity of a client's session. Written by the thread that serves the client, and read by threads that ask
/// for the statistics. `Relaxed` is enough, because a value depends on no other memory. A reader may see the two
/// fields of different moments, and is then wrong for one snapshot.
///
/// A message costs a look at the clock and a store when it arrives, and a store when the next wait begins.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When input has arrived for the last time, in ticks of the clock times two, plus [`AT_WORK`].
    received: AtomicU64,
    /// Since when the adapter is at work on something else than input, such as `closing` or a deadline, or 0.
    other_since: AtomicU64,
}

/// The adapter is at work. Otherwise, it waits for input.
const AT_WORK: u64 = 1;

impl Activity {
    /// Begins with an adapter at work, because `opening` comes first.
    pub(super) fn new() -> Activity {
        Activity {
            received: AtomicU64::new(Moment::now().ticks() << 1 | AT_WORK),
            other_since: AtomicU64::new(0),
        }
    }

    /// Input has arrived, and goes to the adapter.
    pub(crate) fn received(&self) {
        self.received.store(Moment::now().ticks() << 1 | AT_WORK, Ordering::Relaxed);
        if self.other_since.load(Ordering::Relaxed) != 0 {
            self.other_since.store(0, Ordering::Relaxed);
        }
    }

    /// The adapter waits for input.
    pub(crate) fn waits(&self) {
        self.received.store(self.received.load(Ordering::Relaxed) & !AT_WORK, Ordering::Relaxed);
    }

    /// The adapter is at work although no input has arrived.
    pub(crate) fn works(&self) {
        self.other_since.store(Moment::now().ticks(), Ordering::Relaxed);
        self.received.store(self.received.load(Ordering::Relaxed) | AT_WORK, Ordering::Relaxed);
    }

    /// Returns for how long nothing has arrived, and for how long the adapter has been at work, if it is.
    pub(super) fn read(&self) -> (Duration, Option<Duration>) {
        let (received, other) =
            (self.received.load(Ordering::Relaxed), self.other_since.load(Ordering::Relaxed));
        let since = |ticks: u64| Moment::at(ticks).elapsed();
        let at_work = received & AT_WORK != 0;
        let working = if other != 0 { other } else { received >> 1 };
        (since(received >> 1), at_work.then(|| since(working)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    /// More than the resolution of the clock.
    const WHILE: Duration = Duration::from_millis(30);

    #[test]
    fn a_client_is_at_work_from_its_input_until_the_next_wait() {
        let activity = Activity::new();
        assert!(activity.read().1.is_some());
        activity.waits();
        sleep(WHILE);
        assert_eq!(activity.read().1, None);
        assert!(activity.read().0 >= WHILE / 2);
        activity.received();
        let (idle, working) = activity.read();
        assert_eq!(Some(idle), working);
        sleep(WHILE);
        let (idle, working) = activity.read();
        assert!(idle >= WHILE / 2 && working >= Some(WHILE / 2));
    }

    #[test]
    fn other_work_is_not_input() {
        let activity = Activity::new();
        activity.waits();
        sleep(WHILE);
        activity.works();
        let (idle, working) = activity.read();
        assert!(idle >= working.unwrap() + WHILE / 2, "{idle:?} {working:?}");
        activity.received();
        sleep(WHILE);
        assert!(activity.read().1 >= Some(WHILE / 2));
        activity.waits();
        assert_eq!(activity.read().1, None);
    }
}
