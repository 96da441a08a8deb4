//! The log_thread: a thread that hands records to the application's logger, one after another, so that
//! no other thread ever waits for it.
//!
//! It starts with the first record, and leaves after a second without one or with the machine whose
//! end waits for it ([`LogThread::flush`]). Records wait in a queue that is bounded; what is over the
//! bound is dropped and counted, and the count is logged in its place. Where no thread can be had,
//! whoever has something to say is the log_thread for that moment: the log is where one looks then.

use std::cell::Cell;
use std::mem;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::catch_panic::catch_panic;
use crate::logging::queue::{Entry, Queue};

/// How long the thread waits for a record before it leaves.
const IDLE: Duration = Duration::from_secs(1);
/// A logger that takes longer for one record is taken for stuck by those who wait for it. Long, since a
/// thread that has no turn on a busy machine looks the same.
const STUCK: Duration = Duration::from_secs(1);

thread_local! {
    /// This thread is in the logger.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
    static IN_LOGGER: Cell<bool> = const { Cell::new(false) };
}

/// One a process, as the logger.
///
/// Its locks are `std`'s: those of `parking_lot` keep a list of who waits, which a forked process would
/// inherit, and a program may well become a daemon after it has prepared its machine.
pub(crate) struct LogThread {
    state: Mutex<State>,
    /// For the thread: there is a record, or it shall leave.
    work: Condvar,
    /// For those who flush: a record was handed over, or the thread has left.
    progress: Condvar,
    /// Called without the lock, and fenced.
    sink: &'static (dyn Fn(&Entry) + Sync),
}

/// Written by those who say something, those who flush, and the thread.
struct State {
    queue: Queue,
    /// How many of those that were in the queue have been handed over.
    done: u64,
    /// When the last one was, or when there was something to do again.
    since: Option<Instant>,
    /// Who hands them over, and in which process: a fork has none of its parent's threads.
    hand: Hand,
    process: u32,
    /// The thread shall leave as soon as it has nothing to do.
    leaving: bool,
    /// The thread that has left because it should; taken by who joins it.
    left: Option<JoinHandle<()>>,
}

enum Hand {
    None,
    Thread(JoinHandle<()>),
    /// A thread with something to say, for want of one for this.
    Caller,
}

impl LogThread {
    pub(crate) const fn new(sink: &'static (dyn Fn(&Entry) + Sync)) -> LogThread {
        let state = State {
            queue: Queue::new(),
            done: 0,
            since: None,
            hand: Hand::None,
            process: 0,
            leaving: false,
            left: None,
        };
        LogThread { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new(), sink }
    }

    /// Has a record handed over. What the logger itself makes us say is dropped: it would have no
    /// end.
    pub(crate) fn say(&'static self, entry: Entry) {
        if IN_LOGGER.get() {
            return;
        }
        let mut state = self.lock();
        state.look_for_fork();
        state.mark_if_idle();
        state.queue.put(entry);
        if !matches!(state.hand, Hand::None) {
            drop(state);
            self.work.notify_one();
            return;
        }
        // Under the lock, so that the thread finds its handle there.
        match Builder::new().name("backport-log".to_owned()).spawn(move || self.work()) {
            Ok(thread) => state.hand = Hand::Thread(thread),
            Err(_) => {
                state.hand = Hand::Caller;
                let mut state = self.hand_over(state);
                state.hand = Hand::None;
                drop(state);
                self.progress.notify_all();
            }
        }
    }

    /// Waits until what was said before has been handed over and, if nothing else is said meanwhile,
    /// the thread has left. Not for a logger that is stuck, and `limit` at most.
    pub(crate) fn flush(&self, limit: Duration) {
        if IN_LOGGER.get() {
            return;
        }
        let end = Instant::now() + limit;
        let mut state = self.lock();
        state.look_for_fork();
        state.mark_if_idle();
        let last = state.queue.count();
        state.leaving = matches!(state.hand, Hand::Thread(_));
        self.work.notify_one();
        while !matches!(state.hand, Hand::None) && (state.done < last || state.queue.count() == last) {
            let deadline = state.since.map_or(end, |since| end.min(since + STUCK));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let left = state.left.take();
        drop(state);
        if let Some(thread) = left {
            // Its work is fenced.
            drop(thread.join());
        }
    }

    /// The thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            state = self.hand_over(state);
            if state.leaving {
                break;
            }
            let (guard, time) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if time.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        let hand = mem::replace(&mut state.hand, Hand::None);
        if let (true, Hand::Thread(thread)) = (state.leaving, hand) {
            state.left = Some(thread);
        }
        state.leaving = false;
        state.queue.clear();
        drop(state);
        self.progress.notify_all();
    }

    /// Hands all records over, without the lock while it does.
    fn hand_over<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while let Some(entry) = state.queue.take() {
            drop(state);
            IN_LOGGER.set(true);
            // A logger that panics has said so through the panic hook; there is no one left to tell.
            drop(catch_panic(|| (self.sink)(&entry)));
            IN_LOGGER.set(false);
            drop(entry);
            state = self.lock();
            state.done += 1;
            state.since = Some(Instant::now());
            self.progress.notify_all();
        }
        state
    }

    /// Nothing panics under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn mark_if_idle(&mut self) {
        if self.done == self.queue.count() {
            self.since = Some(Instant::now());
        }
    }

    /// A forked process has none of its parent's threads, and its parent says what is in the queue.
    fn look_for_fork(&mut self) {
        let process = process::id();
        if mem::replace(&mut self.process, process) != process {
            // To join or detach a thread that isn't there is not defined.
            mem::forget(mem::replace(&mut self.hand, Hand::None));
            mem::forget(self.left.take());
            self.queue.clear();
            (self.done, self.leaving) = (self.queue.count(), false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, unbounded};

    const LONG: Duration = Duration::from_secs(20);

    /// A log_thread of its own, as a process has it: for ever.
    fn log_thread(sink: impl Fn(&Entry) + Sync + 'static) -> &'static LogThread {
        Box::leak(Box::new(LogThread::new(Box::leak(Box::new(sink)))))
    }

    fn entry(text: impl Into<String>) -> Entry {
        Entry { level: log::Level::Info, text: text.into(), place: &("module", "file", 1) }
    }

    fn has_thread(log_thread: &LogThread) -> bool {
        matches!(log_thread.lock().hand, Hand::Thread(_))
    }

    #[test]
    fn hands_over_in_order_on_a_thread_that_leaves_with_a_flush() {
        let (sender, said) = unbounded();
        let log_thread = log_thread(move |entry| {
            let thread = std::thread::current().name().map(str::to_owned);
            sender.send((entry.text.clone(), thread)).unwrap();
        });
        for round in 0..3 {
            (0..100).for_each(|number| log_thread.say(entry(format!("{round} {number}"))));
            log_thread.flush(LONG);
            let thread = Some("backport-log".to_owned());
            let expected: Vec<_> =
                (0..100).map(|number| (format!("{round} {number}"), thread.clone())).collect();
            assert_eq!(said.try_iter().collect::<Vec<_>>(), expected);
            assert!(!has_thread(log_thread));
        }
    }

    #[test]
    fn the_thread_leaves_by_itself_when_there_is_nothing_to_do() {
        let log_thread = log_thread(|_| ());
        log_thread.say(entry("one"));
        let state = log_thread.lock();
        let here = |state: &mut State| !matches!(state.hand, Hand::None);
        let (state, time) = log_thread.progress.wait_timeout_while(state, LONG, here).unwrap();
        assert!(!time.timed_out());
        assert_eq!((state.queue.count(), state.done), (1, 1));
    }

    #[test]
    fn does_not_wait_for_a_sink_that_is_stuck_longer_than_it_should() {
        let ((leave, wait), (sender, said)) = (unbounded(), unbounded());
        let log_thread = log_thread(move |entry| {
            wait.recv_timeout(LONG).unwrap();
            sender.send(entry.text.clone()).unwrap();
        });
        log_thread.say(entry("first"));
        let start = Instant::now();
        log_thread.flush(Duration::from_millis(20));
        log_thread.flush(LONG);
        assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
        assert!(said.is_empty());
        log_thread.say(entry("second"));
        for text in ["first", "second"] {
            leave.send(()).unwrap();
            assert_eq!(said.recv_timeout(LONG).unwrap(), text);
        }
        // It has got over it.
        log_thread.flush(LONG);
        assert!(!has_thread(log_thread));
    }

    #[test]
    fn what_the_sink_makes_us_say_is_dropped_and_its_panics_are_survived() {
        static INNER: std::sync::OnceLock<&'static LogThread> = std::sync::OnceLock::new();
        let (sender, said) = bounded(10);
        let log_thread = log_thread(move |entry| {
            let log_thread = INNER.get().unwrap();
            log_thread.say(super::tests::entry("from within"));
            log_thread.flush(LONG);
            sender.send(entry.text.clone()).unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(INNER.set(log_thread).is_ok());
        log_thread.say(entry("one"));
        log_thread.say(entry("two"));
        log_thread.flush(LONG);
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
