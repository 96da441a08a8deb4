//! The records that wait for the log_thread: in order, bounded, and with a count of what found no room.

use std::collections::VecDeque;
use std::mem;

/// How many bytes may wait.
const ROOM: usize = 1024 * 1024;

/// Where something was said: module, file and line.
pub(crate) type Place = (&'static str, &'static str, u32);

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) level: log::Level,
    pub(crate) text: String,
    pub(crate) place: &'static Place,
}

/// The records that wait.
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// What they take, in bytes.
    size: usize,
    /// How many were dropped that nobody was told of yet.
    dropped: u64,
    /// How many have been in here, ever.
    count: u64,
}

impl Queue {
    pub(crate) const fn new() -> Queue {
        Queue { entries: VecDeque::new(), size: 0, dropped: 0, count: 0 }
    }

    /// Puts a record behind the others, if there is room.
    pub(crate) fn put(&mut self, entry: Entry) {
        // Once it has overflowed it must be half empty first, or every second record would be a
        // remark on the one before.
        let room = if self.dropped == 0 { ROOM } else { ROOM / 2 };
        if !self.entries.is_empty() && self.size + entry.size() > room {
            self.dropped += 1;
            return;
        }
        let remark = self.remark();
        for entry in remark.into_iter().chain([entry]) {
            self.count += 1;
            self.size += entry.size();
            self.entries.push_back(entry);
        }
    }

    /// The first one. The last is a remark on those that were dropped.
    pub(crate) fn take(&mut self) -> Option<Entry> {
        if let Some(entry) = self.entries.pop_front() {
            self.size -= entry.size();
            return Some(entry);
        }
        let remark = self.remark()?;
        self.count += 1;
        Some(remark)
    }

    /// How many will have been taken, ever, when it is empty.
    pub(crate) fn count(&self) -> u64 {
        self.count + u64::from(self.dropped > 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0
    }

    /// Forgets what it has, and gives its memory back.
    pub(crate) fn clear(&mut self) {
        *self = Queue { count: self.count, ..Queue::new() };
    }

    fn remark(&mut self) -> Option<Entry> {
        match mem::take(&mut self.dropped) {
            0 => None,
            count => {
                let text = format!("{count} log records dropped: the logger is too slow");
                let place = &(module_path!(), file!(), line!());
                Some(Entry { level: log::Level::Warn, text, place })
            }
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.text.capacity() + size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thousand bytes or so.
    fn entry(number: usize) -> Entry {
        Entry { level: log::Level::Info, text: format!("{number:0>1000}"), place: &("module", "file", 1) }
    }

    /// Takes so many, which are numbered from `first` on; the next number.
    fn take(queue: &mut Queue, first: usize, count: usize) -> usize {
        (first..first + count).for_each(|number| assert_eq!(queue.take(), Some(entry(number))));
        first + count
    }

    fn assert_remark(queue: &mut Queue, count: usize) {
        let remark = queue.take().unwrap();
        assert_eq!(remark.level, log::Level::Warn);
        assert_eq!(remark.text, format!("{count} log records dropped: the logger is too slow"));
    }

    #[test]
    fn what_is_over_the_bound_is_dropped_and_counted_in_its_place() {
        let mut queue = Queue::new();
        let fit = ROOM / entry(0).size();
        (0..fit + 10).for_each(|number| queue.put(entry(number)));
        let next = take(&mut queue, 0, 10);
        // Half of it must go before there is room again.
        queue.put(entry(fit + 10));
        let next = take(&mut queue, next, fit / 2);
        queue.put(entry(7));
        take(&mut queue, next, fit - next);
        assert_remark(&mut queue, 11);
        take(&mut queue, 7, 1);
        assert!(queue.is_empty());
        assert_eq!(queue.count(), fit as u64 + 2);
    }

    #[test]
    fn a_count_that_no_record_follows_is_told_too() {
        let mut queue = Queue::new();
        let fit = ROOM / entry(0).size();
        (0..fit + 10).for_each(|number| queue.put(entry(number)));
        take(&mut queue, 0, fit);
        assert!(!queue.is_empty());
        assert_remark(&mut queue, 10);
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn one_that_is_longer_than_the_bound_finds_room_alone() {
        let mut queue = Queue::new();
        queue.put(Entry { text: "x".repeat(2 * ROOM), ..entry(0) });
        queue.put(entry(1));
        assert_eq!(queue.take().unwrap().text.len(), 2 * ROOM);
        assert_remark(&mut queue, 1);
        queue.put(entry(2));
        take(&mut queue, 2, 1);
        assert_eq!(queue.size, 0);
    }
}
