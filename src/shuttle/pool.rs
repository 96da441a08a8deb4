//! The pool: claims against withdrawals against the close.

use std::sync::Arc;

use shuttle::thread;

use super::{deadline, explore, Time};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::threads::pool::{Job, Pool};
use crate::threads::Threads;

/// How often a job was run and dropped.
#[derive(Default)]
struct Count {
    run: AtomicUsize,
    dropped: AtomicUsize,
}

struct Counted(Arc<Count>);

impl Job for Counted {
    fn run(&mut self) {
        self.0.run.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Three threads hand jobs over, two with the same size of stack, while workers park and give up
/// waiting and the pool closes: a job that was taken is run once, and dropped once.
fn run() {
    let threads = Threads::new();
    threads.open().unwrap();
    let pool = Pool::new(Arc::clone(&threads));
    let givers = [None, None, Some(64 * 1024)].map(|stack| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || {
            [(); 2].map(|()| {
                let count = Arc::new(Count::default());
                let outcome = pool.run(stack, Box::new(Counted(Arc::clone(&count))));
                (outcome.is_ok(), count)
            })
        })
    });
    let closer = thread::spawn({
        let pool = Arc::clone(&pool);
        move || pool.close()
    });
    let given: Vec<_> = givers.into_iter().flat_map(|giver| giver.join().unwrap()).collect();
    closer.join().unwrap();
    let (sender, ended) = super::channel::unbounded();
    threads.close(move || sender.send(()).unwrap());
    ended.recv().expect("every worker goes home");
    threads.join(deadline());
    assert_eq!(threads.count(), 0);
    for (accepted, count) in given {
        assert!(accepted, "a job was lost");
        assert_eq!(count.run.load(Ordering::SeqCst), 1);
        assert_eq!(count.dropped.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_job_is_run_once_and_dropped_once() {
    explore(Time::Passes, run);
}

/// No wait ends by itself here: the close alone sends the workers home.
#[test]
fn the_close_sends_every_worker_home() {
    explore(Time::Stands, run);
}
