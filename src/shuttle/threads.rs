//! Tests of the threads of a machine: threads start while the threads are closed, and end.

use std::sync::Arc;

use shuttle::thread;

use super::channel::{unbounded, Receiver};
use super::{explore, Time};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::threads::MachineThreads;

/// Counts jobs that have begun, jobs that were dropped, and reports of the last end.
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

fn close(threads: &MachineThreads, count: &Arc<Count>) -> Receiver<()> {
    let (sender, ended) = unbounded();
    let count = Arc::clone(count);
    threads.close(move || {
        count.ended.fetch_add(1, Ordering::SeqCst);
        sender.send(()).unwrap();
    });
    ended
}

/// Threads start during a close, and one thread starts another thread. When the last end is reported, each
/// thread that could start has run once. No thread runs after that.
#[test]
fn the_end_of_the_last_thread_is_reported_once() {
    explore(Time::Stands, || {
        let (threads, count) = (MachineThreads::new(), Arc::new(Count::default()));
        let deferred = Job(Arc::clone(&count));
        threads.spawn("deferred".to_owned(), None, false, move || deferred.run()).unwrap();
        threads.open().unwrap();
        let starters = [0, 1].map(|_| {
            let threads = Arc::clone(&threads);
            let (outer, inner) = (Job(Arc::clone(&count)), Job(Arc::clone(&count)));
            thread::spawn(move || {
                let within = Arc::clone(&threads);
                let outcome = threads.spawn("outer".to_owned(), None, false, move || {
                    outer.run();
                    // The thread is refused if the close has come in between.
                    drop(within.spawn("inner".to_owned(), None, false, move || inner.run()));
                });
                outcome.is_ok()
            })
        });
        let ended = close(&threads, &count);
        threads.close(|| unreachable!("the first close counts"));
        ended.recv().expect("the last end is reported");
        assert_eq!(threads.count(), 0, "a thread runs after the last end");
        let begun = count.begun.load(Ordering::SeqCst);
        assert!(threads.join().is_empty());
        let started = starters.map(|starter| starter.join().unwrap());
        assert!(begun > started.iter().filter(|started| **started).count(), "a thread was lost");
        assert_eq!(count.begun.load(Ordering::SeqCst), begun, "a thread was started after the last end");
        assert_eq!(count.dropped.load(Ordering::SeqCst), 5);
        assert_eq!(count.ended.load(Ordering::SeqCst), 1);
    });
}

/// Threads that were deferred before the machine ran.
#[test]
fn a_close_drops_deferred_threads_or_the_open_starts_them() {
    explore(Time::Stands, || {
        let (threads, count) = (MachineThreads::new(), Arc::new(Count::default()));
        for name in ["one", "two"] {
            let job = Job(Arc::clone(&count));
            threads.spawn(name.to_owned(), None, false, move || job.run()).unwrap();
        }
        let opener = thread::spawn({
            let threads = Arc::clone(&threads);
            move || threads.open().unwrap()
        });
        let ended = close(&threads, &count);
        ended.recv().expect("the last end is reported");
        assert_eq!(threads.count(), 0, "a thread runs after the last end");
        opener.join().unwrap();
        assert!([0, 2].contains(&count.begun.load(Ordering::SeqCst)), "one was started, one was not");
        assert_eq!(count.dropped.load(Ordering::SeqCst), 2);
        assert_eq!(count.ended.load(Ordering::SeqCst), 1);
    });
}
