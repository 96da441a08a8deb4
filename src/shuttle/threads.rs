//! The threads of a machine: starting them against the close, and their end.

use std::sync::Arc;

use shuttle::thread;

use super::channel::{unbounded, Receiver};
use super::{deadline, explore, Time};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::threads::Threads;

/// Counts jobs that were begun, were dropped, and calls for the last.
#[derive(Default)]
struct Count {
    begun: AtomicUsize,
    dropped: AtomicUsize,
    ended: AtomicUsize,
}

struct Job(Arc<Count>);

impl Job {
    fn run(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn close(threads: &Threads, count: &Arc<Count>) -> Receiver<()> {
    let (sender, ended) = unbounded();
    let count = Arc::clone(count);
    threads.close(move || {
        count.ended.fetch_add(1, Ordering::SeqCst);
        sender.send(()).unwrap();
    });
    ended
}

/// Threads that are started, one of them by another, against a close: each that could be started has
/// run, once, when the last says so; nothing runs after that.
#[test]
fn the_last_thread_says_so_once() {
    explore(Time::Stands, || {
        let (threads, count) = (Threads::new(), Arc::new(Count::default()));
        let noted = Job(Arc::clone(&count));
        threads.spawn("noted".to_owned(), None, move || noted.run()).unwrap();
        threads.open().unwrap();
        let starters = [0, 1].map(|_| {
            let threads = Arc::clone(&threads);
            let (outer, inner) = (Job(Arc::clone(&count)), Job(Arc::clone(&count)));
            thread::spawn(move || {
                let within = Arc::clone(&threads);
                let outcome = threads.spawn("outer".to_owned(), None, move || {
                    outer.run();
                    // Refused once the close has come in between.
                    drop(within.spawn("inner".to_owned(), None, move || inner.run()));
                });
                outcome.is_ok()
            })
        });
        let ended = close(&threads, &count);
        threads.close(|| unreachable!("the first close counts"));
        ended.recv().expect("the last thread says so");
        assert_eq!(threads.count(), 0, "a thread has outlived the last");
        let begun = count.begun.load(Ordering::SeqCst);
        assert!(threads.join(deadline()).is_empty());
        let started = starters.map(|starter| starter.join().unwrap());
        assert!(begun > started.iter().filter(|started| **started).count(), "a thread was lost");
        assert_eq!(count.begun.load(Ordering::SeqCst), begun, "a thread was started after the last");
        assert_eq!(count.dropped.load(Ordering::SeqCst), 5);
        assert_eq!(count.ended.load(Ordering::SeqCst), 1);
    });
}

/// What was noted before the machine ran goes with it.
#[test]
fn a_close_drops_what_was_noted_or_the_open_starts_it() {
    explore(Time::Stands, || {
        let (threads, count) = (Threads::new(), Arc::new(Count::default()));
        for name in ["one", "two"] {
            let job = Job(Arc::clone(&count));
            threads.spawn(name.to_owned(), None, move || job.run()).unwrap();
        }
        let opener = thread::spawn({
            let threads = Arc::clone(&threads);
            move || threads.open().unwrap()
        });
        let ended = close(&threads, &count);
        ended.recv().expect("the last thread says so");
        assert_eq!(threads.count(), 0, "a thread has outlived the last");
        opener.join().unwrap();
        assert!([0, 2].contains(&count.begun.load(Ordering::SeqCst)), "one was started, one was not");
        assert_eq!(count.dropped.load(Ordering::SeqCst), 2);
        assert_eq!(count.ended.load(Ordering::SeqCst), 1);
    });
}
