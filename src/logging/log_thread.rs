//! The thread that calls the application's logger, and the queue of records in front of it.
//!
//! The thread starts with the first record. It ends after a second without a record, or when a machine has
//! stopped and [flushes](LogThread::flush) the log. If the thread cannot be started, the thread that logs the
//! record calls the logger itself, because the log may be the only place that reports this failure.
//!
//! The queue holds at most 1 MiB of records. If a record does not fit, it is dropped and counted, and so is
//! every later record until the queue is empty. Then a warning says how many records were dropped.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::catch_panic::catch_panic;

/// How many bytes of records may wait in the queue.
const ROOM: usize = 1024 * 1024;
/// If the logger takes longer than this for one record, it counts as stuck. The time is long, because a
/// thread that gets no CPU time on a busy computer looks the same.
const STUCK: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread is the log thread, or calls the logger instead of it.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
    static IN_LOGGER: Cell<bool> = const { Cell::new(false) };
}

/// The module, the file and the line that a message comes from.
pub(crate) type Place = (&'static str, &'static str, u32);

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) level: log::Level,
    pub(crate) text: String,
    pub(crate) place: &'static Place,
}

impl Entry {
    fn size(&self) -> usize {
        self.text.capacity() + size_of::<Entry>()
    }
}

/// The queue and the thread for the logger. A process has one, because it has one logger.
///
/// A program may prepare its machine first and then fork to become a daemon. The forked process has none of the
/// threads of its parent, and a lock that one of them held at the fork is held forever. Therefore each process
/// has its own queue. The locks are from `std`, because the list of waiting threads in `parking_lot` is shared
/// by all locks.
pub(crate) struct LogThread {
    queue: Queue,
    /// Calls the logger. It is called without the lock, inside `catch_panic`.
    sink: Box<dyn Fn(&Entry) + Send + Sync>,
    /// How long the thread waits for a record before it ends.
    idle: Duration,
}

/// The queue of one process. Forked processes leave it alone. It may contain records that the parent logs.
struct Queue {
    process: u32,
    state: Mutex<LogState>,
    /// Signalled after each change. The thread waits here for a record, and a flush waits here for the
    /// thread.
    changed: Condvar,
    /// The queue of a process that was forked from this one. Set by that process, in its own memory.
    forked: OnceLock<Box<Queue>>,
}

impl Queue {
    fn new() -> Queue {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Queue { process: process::id(), state, changed, forked: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        // No code that holds this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Written by every thread that logs or flushes, and by the log thread.
#[derive(Default)]
struct LogState {
    entries: VecDeque<Entry>,
    /// The size of `entries`, in bytes.
    size: usize,
    /// The number of dropped records that no warning has reported yet.
    dropped: u64,
    /// The start of the current call of the logger.
    in_call: Option<Instant>,
    /// The number of calls that have returned.
    done: u64,
    /// Whether a thread calls the logger: the log thread, or a thread that could not start it.
    active: bool,
    /// Whether the log thread must end as soon as the queue is empty.
    end_when_empty: bool,
}

impl LogThread {
    pub(crate) fn new(sink: impl Fn(&Entry) + Send + Sync + 'static) -> LogThread {
        let (sink, idle) = (Box::new(sink), Duration::from_secs(1));
        LogThread { queue: Queue::new(), sink, idle }
    }

    /// Puts a record into the queue. If the logger itself causes a record, that record is dropped, because
    /// otherwise each call of the logger could cause another call.
    pub(crate) fn send(&'static self, entry: Entry) {
        if IN_LOGGER.get() {
            return;
        }
        let queue = self.queue();
        let mut state = queue.lock();
        state.put(entry);
        let active = mem::replace(&mut state.active, true);
        drop(state);
        if active {
            queue.changed.notify_all();
            return;
        }
        // The thread is never joined, because the logger's thread-local destructors may block at its end.
        let thread = Builder::new().name("backport-log".to_owned());
        if thread.spawn(|| self.run(queue, self.idle)).is_err() {
            self.run(queue, Duration::ZERO);
            IN_LOGGER.set(false);
        }
    }

    /// Waits until every earlier record was passed to the logger. If no other record comes, also waits until
    /// the thread is about to end. Returns early after `limit`, or if the logger is stuck.
    pub(crate) fn flush(&self, limit: Duration) {
        if IN_LOGGER.get() {
            return;
        }
        let end = Instant::now() + limit;
        let queue = self.queue();
        let mut state = queue.lock();
        let last = state.done + state.unfinished();
        state.end_when_empty = state.active;
        queue.changed.notify_all();
        while state.active && (state.done < last || state.unfinished() == 0) {
            let deadline = state.in_call.map_or(end, |start| end.min(start + STUCK));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = queue.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Passes records to the logger until no record has come for `idle`.
    fn run(&self, queue: &Queue, idle: Duration) {
        IN_LOGGER.set(true);
        let mut state = queue.lock();
        loop {
            while let Some(entry) = state.take() {
                state.in_call = Some(Instant::now());
                drop(state);
                // The panic hook has already printed the message of a panic.
                drop(catch_panic(|| (self.sink)(&entry)));
                state = queue.lock();
                state.in_call = None;
                state.done += 1;
                queue.changed.notify_all();
            }
            let waits = |state: &mut LogState| state.unfinished() == 0 && !state.end_when_empty;
            let woken = queue.changed.wait_timeout_while(state, idle, waits);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            if state.unfinished() == 0 {
                break;
            }
        }
        // The queue is empty, but keeps its memory until it is dropped.
        state.entries = VecDeque::new();
        (state.active, state.end_when_empty) = (false, false);
        drop(state);
        queue.changed.notify_all();
    }

    /// Returns the queue of this process.
    fn queue(&self) -> &Queue {
        let (mut queue, process) = (&self.queue, process::id());
        while queue.process != process {
            queue = queue.forked.get_or_init(|| Box::new(Queue::new()));
        }
        queue
    }
}

impl LogState {
    fn put(&mut self, entry: Entry) {
        // An empty queue accepts even a record that is larger than the limit.
        let fits = self.entries.is_empty() || self.size + entry.size() <= ROOM;
        if self.dropped > 0 || !fits {
            self.dropped += 1;
            return;
        }
        self.size += entry.size();
        self.entries.push_back(entry);
    }

    /// Takes the first record. After the last one, returns the warning about dropped records.
    fn take(&mut self) -> Option<Entry> {
        if let Some(entry) = self.entries.pop_front() {
            self.size -= entry.size();
            return Some(entry);
        }
        match mem::take(&mut self.dropped) {
            0 => None,
            count => {
                let text = format!("{count} log records dropped: the logger is too slow");
                Some(Entry { level: log::Level::Warn, text, place: &(module_path!(), file!(), line!()) })
            }
        }
    }

    /// Returns how many calls of the logger are left until the queue is empty.
    fn unfinished(&self) -> u64 {
        self.entries.len() as u64 + u64::from(self.dropped > 0) + u64::from(self.in_call.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    const LONG: Duration = Duration::from_secs(20);

    /// Returns a log thread that ends only with a flush.
    fn log_thread(sink: impl Fn(&Entry) + Send + Sync + 'static) -> &'static LogThread {
        Box::leak(Box::new(LogThread { idle: LONG * 10, ..LogThread::new(sink) }))
    }

    fn entry(text: impl Into<String>) -> Entry {
        Entry { level: log::Level::Info, text: text.into(), place: &("module", "file", 1) }
    }

    /// Returns a record of about a thousand bytes.
    fn numbered(number: usize) -> Entry {
        entry(format!("{number:0>1000}"))
    }

    fn assert_warning(state: &mut LogState, count: usize) {
        let warning = state.take().unwrap();
        assert_eq!(warning.level, log::Level::Warn);
        assert_eq!(warning.text, format!("{count} log records dropped: the logger is too slow"));
    }

    #[test]
    fn records_that_do_not_fit_are_dropped_and_counted_in_their_place() {
        let mut state = LogState::default();
        let fit = ROOM / numbered(0).size();
        (0..fit + 10).for_each(|number| state.put(numbered(number)));
        (0..fit).for_each(|number| assert_eq!(state.take(), Some(numbered(number))));
        // There is room again, but a new record must not come before the warning.
        state.put(numbered(fit + 10));
        assert_eq!(state.unfinished(), 1);
        assert_warning(&mut state, 11);
        // An empty queue accepts even a record that is larger than the limit.
        state.put(entry("x".repeat(2 * ROOM)));
        state.put(numbered(1));
        assert_eq!(state.take().unwrap().text.len(), 2 * ROOM);
        assert_warning(&mut state, 1);
        assert_eq!(state.take(), None);
        assert_eq!((state.size, state.unfinished()), (0, 0));
    }

    #[test]
    fn records_keep_their_order_and_a_flush_ends_the_thread() {
        let (sender, said) = unbounded();
        let log_thread = log_thread(move |entry| {
            assert_eq!(std::thread::current().name(), Some("backport-log"));
            sender.send(entry.text.clone()).unwrap();
        });
        for round in 0..3 {
            (0..100).for_each(|number| log_thread.send(entry(format!("{round} {number}"))));
            log_thread.flush(LONG);
            let expected: Vec<_> = (0..100).map(|number| format!("{round} {number}")).collect();
            assert_eq!(said.try_iter().collect::<Vec<_>>(), expected);
            assert!(!log_thread.queue().lock().active);
        }
    }

    #[test]
    fn a_flush_does_not_wait_for_a_logger_that_is_stuck() {
        let ((leave, wait), (sender, said)) = (unbounded(), unbounded());
        let log_thread = log_thread(move |entry| {
            wait.recv_timeout(LONG).unwrap();
            sender.send(entry.text.clone()).unwrap();
        });
        log_thread.send(entry("first"));
        let start = Instant::now();
        log_thread.flush(Duration::from_millis(20));
        log_thread.flush(LONG);
        assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
        assert!(said.is_empty());
        log_thread.send(entry("second"));
        for text in ["first", "second"] {
            leave.send(()).unwrap();
            assert_eq!(said.recv_timeout(LONG).unwrap(), text);
        }
        // The logger is no longer stuck.
        log_thread.flush(LONG);
        assert!(!log_thread.queue().lock().active);
    }
}
