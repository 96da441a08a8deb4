//! Counts of the servers' own code, which are compared with those of the crate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use backport::{Adapter, Client, Closing, Result};
use parking_lot::Mutex;

use crate::servers::ON_PURPOSE;

#[derive(Default)]
pub(crate) struct Tally {
    opened: AtomicU64,
    closed: AtomicU64,
    made: AtomicU64,
    dropped: AtomicU64,
    /// The factories that panicked. Their clients have no adapter.
    pub(crate) unmade: AtomicU64,
    too_slow: AtomicU64,
    idle: AtomicU64,
    failed: AtomicU64,
    /// The clients with a panic: in a callback, in `closing` or in the drop of the adapter.
    panicked: AtomicU64,
    records: AtomicU64,
    /// The first few faults, in words.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    /// Returns the adapter with counters around its callbacks.
    pub(crate) fn around<A: Adapter>(self: &Arc<Self>, adapter: A) -> Tallied<A> {
        count(&self.made);
        let late = LatePanic(Arc::clone(self));
        Tallied { adapter, tally: Arc::clone(self), opened: false, closed: false, _late: late }
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let mut wrong = self.wrong.lock();
        if wrong.len() < 10 {
            wrong.push(what.into());
        }
    }

    /// Checks a record of the log.
    pub(crate) fn record(&self, record: &log::Record<'_>) {
        count(&self.records);
        let text = record.args().to_string();
        if text.chars().any(char::is_control) {
            self.wrong(format!("not escaped in the log: {text:?}"));
        }
        let expected = text.contains(ON_PURPOSE) || text.contains("a payload that is not a string");
        if record.level() == log::Level::Error && !expected {
            self.wrong(format!("in the log: {text}"));
        }
    }

    pub(crate) fn records(&self) -> u64 {
        read(&self.records)
    }

    /// Returns the faults, and the counts that differ though no client is left.
    pub(crate) fn faults(&self, stats: &backport::ServerStats) -> Vec<String> {
        let mut faults = self.wrong.lock().clone();
        let mut same = |what: &str, one: u64, other: u64| {
            if one != other {
                faults.push(format!("{what}: {one} and {other}"));
            }
        };
        let (made, unmade) = (read(&self.made), read(&self.unmade));
        same("openings and closings", read(&self.opened), read(&self.closed));
        same("adapters made and dropped", made, read(&self.dropped));
        same("clients accepted and served", stats.accepted, made + unmade);
        same("clients that are still there", stats.current as u64, 0);
        same("bytes in backlogs", stats.backlog as u64, 0);
        same("panics counted and seen", stats.panics, read(&self.panicked) + unmade);
        same("failures counted and seen", stats.failures, read(&self.failed));
        same("clients that were too slow, counted and seen", stats.too_slow, read(&self.too_slow));
        same("clients that were idle, counted and seen", stats.idle_timeouts, read(&self.idle));
        faults
    }
}

/// An adapter whose callbacks are counted.
pub(crate) struct Tallied<A> {
    adapter: A,
    tally: Arc<Tally>,
    opened: bool,
    closed: bool,
    /// Dropped after the adapter.
    _late: LatePanic,
}

/// Counts a panic that unwinds through it: in `closing`, or in the drop of an adapter.
struct LatePanic(Arc<Tally>);

impl Drop for LatePanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            count(&self.0.panicked);
        }
    }
}

impl<A: Adapter> Adapter for Tallied<A> {
    fn opening(&mut self, client: &Client) -> Result {
        if std::mem::replace(&mut self.opened, true) {
            self.tally.wrong("a second opening");
        }
        count(&self.tally.opened);
        self.adapter.opening(client)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        if !self.opened || self.closed {
            self.tally.wrong("receiving before opening or after closing");
        }
        self.adapter.receiving(client, data)
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        if std::mem::replace(&mut self.closed, true) || !self.opened {
            self.tally.wrong("a second closing, or one without an opening");
        }
        count(&self.tally.closed);
        match reason {
            Closing::TooSlow => count(&self.tally.too_slow),
            Closing::Idle => count(&self.tally.idle),
            Closing::Failed(_) => count(&self.tally.failed),
            Closing::Panicked(_) => count(&self.tally.panicked),
            _ => {}
        }
        let _late = LatePanic(Arc::clone(&self.tally));
        self.adapter.closing(client, reason);
    }
}

impl<A> Drop for Tallied<A> {
    fn drop(&mut self) {
        if self.opened && !self.closed {
            self.tally.wrong("an opening without a closing");
        }
        count(&self.tally.dropped);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
