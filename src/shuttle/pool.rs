//! Tests of the pool: new jobs come while workers end and while the threads are closed.

use std::sync::Arc;

use shuttle::thread;

use super::{explore, Time};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::threads::pool::{Job, Pool};
use crate::threads::MachineThreads;

/// Counts how often a job was run and dropped.
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

/// Three threads pass on jobs, two of them with the same stack size. At the same time, workers park and end,
/// and the threads are closed. Each accepted job is run once and dropped once.
fn run() {
    let threads = MachineThreads::new();
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
    let (sender, ended) = super::channel::unbounded();
    let closer = thread::spawn({
        let (threads, pool) = (Arc::clone(&threads), Arc::clone(&pool));
        move || {
            threads.close(move || sender.send(()).unwrap());
            pool.end_parked();
        }
    });
    let given: Vec<_> = givers.into_iter().flat_map(|giver| giver.join().unwrap()).collect();
    closer.join().unwrap();
    ended.recv().expect("every worker ends");
    threads.join();
    assert_eq!(threads.count(), 0);
    for (accepted, count) in given {
        // After the close a job is refused, unless a parked worker gets it.
        assert_eq!(count.run.load(Ordering::SeqCst), usize::from(accepted), "a job was lost");
        assert_eq!(count.dropped.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_job_is_run_once_and_dropped_once() {
    explore(Time::Passes, run);
}

/// No wait ends by itself in this test. Only the close ends the workers.
#[test]
fn the_close_ends_every_worker() {
    explore(Time::Stands, run);
}
