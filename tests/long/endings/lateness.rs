//! Notices that the computer is too busy for this test: nobody reads steadily without time to run.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A reader or a link that is later than this is not steady. P6 allows a pause of one second.
pub(crate) const TOLERATED: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(25);

/// The last time that something was late.
#[derive(Default)]
pub(crate) struct Lateness {
    last: Mutex<Option<Instant>>,
}

impl Lateness {
    pub(crate) fn note(&self) {
        *self.last.lock().unwrap() = Some(Instant::now());
    }

    /// Returns `true` if something was late since `start`.
    pub(crate) fn is_since(&self, start: Instant) -> bool {
        self.last.lock().unwrap().is_some_and(|last| last >= start)
    }

    /// Watches whether a thread that wakes up regularly is late, until `done` returns `true`.
    pub(crate) fn watch(&self, done: impl Fn() -> bool) {
        while !done() {
            let start = Instant::now();
            thread::sleep(TICK);
            if start.elapsed() > TICK + TOLERATED {
                self.note();
            }
        }
    }
}
