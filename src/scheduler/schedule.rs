//! [`Schedule`]: entries in the order in which they are due.
//!
//! It is part of the scheduler's state, under the scheduler's lock. Adding and removing an entry take
//! logarithmic time. A removed entry leaves no memory behind, because the nodes of both trees are freed. The
//! time is passed in, so tests need not wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Entries in the order in which they are due. Entries that are due at the same time are ordered by number.
pub(crate) struct Schedule<T> {
    entries: BTreeMap<(Due, u64), T>,
    /// When each entry is due. With this, an entry is found by its number.
    dues: BTreeMap<u64, Due>,
}

/// When an entry is due. If the clock cannot express that time, the entry is never due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    At(Instant),
    Never,
}

impl Due {
    /// Returns the time that is `delay` after `start`.
    pub(crate) fn after(start: Instant, delay: Duration) -> Due {
        start.checked_add(delay).map_or(Due::Never, Due::At)
    }

    /// Returns the first tick after `now`. The ticks are `self` plus multiples of `period`.
    ///
    /// The rate has no drift, because `now` does not shift the ticks. Missed ticks are skipped.
    pub(crate) fn next_tick(self, period: Duration, now: Instant) -> Due {
        let Due::At(due) = self else { return Due::Never };
        let late = now.saturating_duration_since(due).as_nanos();
        let ticks = late / period.as_nanos().max(1) + 1;
        let nanos = u64::try_from(ticks.saturating_mul(period.as_nanos()));
        nanos.map_or(Due::Never, |nanos| Due::after(due, Duration::from_nanos(nanos)))
    }
}

impl<T> Schedule<T> {
    pub(crate) fn new() -> Schedule<T> {
        Schedule { entries: BTreeMap::new(), dues: BTreeMap::new() }
    }

    /// Adds an entry. No other entry has the same number.
    pub(crate) fn insert(&mut self, due: Due, id: u64, entry: T) {
        self.dues.insert(id, due);
        self.entries.insert((due, id), entry);
    }

    /// Takes the entry with this number. Returns `None` if there is none.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let due = self.dues.remove(&id)?;
        self.entries.remove(&(due, id))
    }

    /// Takes the first entry if it is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Due, u64, T)> {
        if self.next().is_none_or(|due| due > now) {
            return None;
        }
        let ((due, id), entry) = self.entries.pop_first()?;
        self.dues.remove(&id);
        Some((due, id, entry))
    }

    /// Returns all entries with their numbers, in the order in which they are due.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (u64, T)> {
        self.entries.into_iter().map(|((_, id), entry)| (id, entry))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dues.is_empty()
    }

    /// Returns when the first entry is due. Returns `None` if there is none, or if it is never due.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.entries.first_key_value() {
            Some((&(Due::At(due), _), _)) => Some(due),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ms(start: Instant, due: Due) -> u128 {
        let Due::At(due) = due else { panic!("never") };
        due.duration_since(start).as_millis()
    }

    #[test]
    fn a_late_tick_does_not_shift_the_next() {
        let start = Instant::now();
        let first = Due::after(start, 20 * MS);
        assert_eq!(ms(start, first.next_tick(20 * MS, start + 20 * MS)), 40);
        assert_eq!(ms(start, first.next_tick(20 * MS, start + 39 * MS)), 40);
    }

    #[test]
    fn missed_ticks_are_skipped() {
        let start = Instant::now();
        let first = Due::after(start, 20 * MS);
        assert_eq!(ms(start, first.next_tick(20 * MS, start + 40 * MS)), 60);
        assert_eq!(ms(start, first.next_tick(20 * MS, start + 95 * MS)), 100);
    }

    #[test]
    fn a_period_beyond_the_clock_is_never_due() {
        let start = Instant::now();
        assert_eq!(Due::after(start, Duration::MAX), Due::Never);
        assert_eq!(Due::after(start, MS).next_tick(Duration::MAX, start + MS), Due::Never);
        assert_eq!(Due::Never.next_tick(MS, start), Due::Never);
        let tiny = Due::after(start, MS).next_tick(Duration::from_nanos(1), start + 2 * MS);
        assert_eq!(tiny, Due::At(start + 2 * MS + Duration::from_nanos(1)));
    }

    #[test]
    fn entries_that_are_due_come_in_order() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.insert(Due::Never, 1, "never");
        schedule.insert(Due::At(start + 2 * MS), 2, "second");
        schedule.insert(Due::At(start + MS), 3, "first");
        schedule.insert(Due::At(start + 2 * MS), 4, "removed");
        assert_eq!(schedule.remove(4), Some("removed"));
        assert_eq!(schedule.next(), Some(start + MS));
        assert!(schedule.pop_due(start).is_none());
        let order: Vec<_> =
            std::iter::from_fn(|| schedule.pop_due(start + 2 * MS)).map(|(_, _, entry)| entry).collect();
        assert_eq!(order, ["first", "second"]);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn an_entry_that_was_taken_cannot_be_removed() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        for id in 1..=3 {
            schedule.insert(Due::At(start), id, id);
        }
        assert_eq!(schedule.pop_due(start).map(|(_, id, _)| id), Some(1));
        assert_eq!((schedule.remove(1), schedule.remove(3)), (None, Some(3)));
        assert_eq!(schedule.remove(3), None);
        // A periodic job is added again with the same number.
        schedule.insert(Due::At(start + MS), 1, 1);
        assert_eq!(schedule.remove(1), Some(1));
        assert_eq!(schedule.into_entries().collect::<Vec<_>>(), [(2, 2)]);
    }

    /// The newest entry is removed first. A search that begins with the oldest entry would visit all entries.
    #[test]
    fn a_removal_costs_the_same_among_many_entries() {
        const MANY: u64 = 50_000;
        let start = Instant::now();
        let mut schedule = Schedule::new();
        (0..MANY).for_each(|id| schedule.insert(Due::At(start), id, id));
        assert!((0..MANY).rev().all(|id| schedule.remove(id) == Some(id)));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
