//! The workers: a thread per client, and a few that have just lost theirs and wait for the next.
//!
//! Starting and ending a thread costs several times what a short connection does, so a worker whose
//! client has gone parks for [`PARKED_FOR`]. A new client claims a parked worker first and gets a
//! new thread else; it never queues behind a busy one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};
use parking_lot::Mutex;

use crate::fence::fence;
use crate::report::{report, Escaped};
use crate::threads::Threads;

/// How many workers are parked at most.
const PARKED: usize = 16;
/// For how long.
const PARKED_FOR: Duration = Duration::from_secs(1);

/// One client, to be served.
pub(crate) trait Job: Send {
    /// Serves it to its end. Called once. What marks the client's place must go with the job
    /// itself, which is dropped when the worker is free for the next.
    fn run(&mut self);
}

/// The workers of one machine.
pub(crate) struct Pool {
    threads: Arc<Threads>,
    state: Mutex<State>,
}

/// Written by acceptors, which claim, and workers, which park and withdraw.
#[derive(Default)]
struct State {
    /// The one that parked last is claimed first: its memory is warm.
    parked: Vec<Parked>,
    next: u64,
    closed: bool,
}

struct Parked {
    worker: u64,
    stack: Option<usize>,
    hand: Hand,
}

/// Takes one job; `None` sends the worker home.
type Hand = Sender<Option<Box<dyn Job>>>;

impl Pool {
    pub(crate) fn new(threads: Arc<Threads>) -> Arc<Pool> {
        Arc::new(Pool { threads, state: Mutex::default() })
    }

    /// Has `job` run by a worker with this stack size. If that can't be, the job is dropped.
    pub(crate) fn run(self: &Arc<Self>, stack: Option<usize>, job: Box<dyn Job>) -> io::Result<()> {
        let worker = {
            let mut state = self.state.lock();
            if let Some(index) = state.parked.iter().rposition(|parked| parked.stack == stack) {
                let parked = state.parked.swap_remove(index);
                drop(state);
                return match parked.hand.send(Some(job)) {
                    Ok(()) => Ok(()),
                    Err(_) => Err(io::Error::other("a parked worker was lost")),
                };
            }
            state.next += 1;
            state.next - 1
        };
        let pool = Arc::clone(self);
        let name = format!("backport-worker-{worker}");
        self.threads.spawn(name, stack, move || pool.work(worker, stack, job))
    }

    /// Sends the parked ones home. Those that work follow when they are done.
    pub(crate) fn close(&self) {
        let parked = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.parked)
        };
        for parked in parked {
            // Has room for one, and this is the one: it was claimed by taking it.
            drop(parked.hand.send(None));
        }
    }

    fn work(&self, worker: u64, stack: Option<usize>, mut job: Box<dyn Job>) {
        let mut line = None;
        loop {
            // The job fences the user's code itself; this is for ours.
            if let Err(message) = fence(|| job.run()) {
                tell("a worker panicked", &message);
            }
            // Parked first, then the client's place is given free: who takes it finds a worker, and
            // there is never one more than places.
            let (hand, jobs) = &*line.get_or_insert_with(channel);
            let parked = self.park(worker, stack, hand);
            if let Err(message) = fence(move || drop(job)) {
                tell("a panic in the drop of a server's factory", &message);
            }
            match parked.then(|| self.next(worker, jobs)).flatten() {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    /// The next job of a parked worker.
    ///
    /// Not inlined, and neither are `channel` and `tell`: their frames would lie under that of every
    /// idle client, whose stack touches two pages without them and three with them.
    #[inline(never)]
    fn next(&self, worker: u64, jobs: &Receiver<Option<Box<dyn Job>>>) -> Option<Box<dyn Job>> {
        match jobs.recv_timeout(PARKED_FOR) {
            Ok(next) => next,
            Err(_) if self.withdraw(worker) => None,
            // Claimed at the last moment: the job is on its way.
            Err(_) => jobs.recv().ok().flatten(),
        }
    }

    fn park(&self, worker: u64, stack: Option<usize>, hand: &Hand) -> bool {
        let mut state = self.state.lock();
        let parks = !state.closed && state.parked.len() < PARKED;
        if parks {
            state.parked.push(Parked { worker, stack, hand: hand.clone() });
        }
        parks
    }

    /// False if the worker was claimed meanwhile.
    fn withdraw(&self, worker: u64) -> bool {
        let mut state = self.state.lock();
        let index = state.parked.iter().position(|parked| parked.worker == worker);
        index.map(|index| state.parked.swap_remove(index)).is_some()
    }
}

#[inline(never)]
fn channel() -> (Hand, Receiver<Option<Box<dyn Job>>>) {
    bounded(1)
}

#[cold]
#[inline(never)]
fn tell(what: &str, message: &str) {
    report!(Error, "{what}: {}", Escaped(message));
}
