//! The workers: one thread for each client, and a few threads without a client that wait for the next one.
//!
//! The start and end of a thread cost several times as much as a short connection. Therefore a worker whose
//! client has gone is parked for [`PARKED_FOR`]. A new client takes a parked worker, or else gets a new
//! thread. It never waits for a busy worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::catch_panic::catch_panic;
use crate::logging::{error, Escaped};
use crate::sync::channel::{unbounded, Receiver, Sender};
use crate::sync::Mutex;
use crate::threads::Threads;

/// The most workers that are parked at once.
const MAX_PARKED: usize = 16;
/// How long a worker stays parked.
const PARKED_FOR: Duration = Duration::from_secs(1);

/// The work for one client.
pub(crate) trait Job: Send {
    /// Serves the client to its end. Called once.
    ///
    /// Afterwards the job holds nothing of the user's. Its drop follows when the worker is free for the next
    /// job. The drop only gives the client's permit back.
    fn run(&mut self);
}

/// The workers of one machine.
pub(crate) struct Pool {
    threads: Arc<Threads>,
    state: Mutex<PoolState>,
}

/// Written under the lock by acceptors, which take parked workers, and by workers, which park and leave.
#[derive(Default)]
struct PoolState {
    classes: Vec<StackClass>,
    next: u64,
}

/// The workers with one stack size. Parked workers wait on one channel, and any of them gets a job. A worker
/// that has just begun to wait can take the next client without having slept.
struct StackClass {
    stack: Option<usize>,
    /// How many workers are parked and not taken. A job is sent after it was subtracted here.
    parked: usize,
    assignments: (Sender<Assignment>, Receiver<Assignment>),
}

/// A job for a parked worker, or `None` if the worker is to end.
type Assignment = Option<Box<dyn Job>>;

impl Pool {
    pub(crate) fn new(threads: Arc<Threads>) -> Arc<Pool> {
        Arc::new(Pool { threads, state: Mutex::default() })
    }

    /// Runs `job` on a worker with this stack size. If there is none, the job is dropped.
    pub(crate) fn run(self: &Arc<Self>, stack: Option<usize>, job: Box<dyn Job>) -> io::Result<()> {
        let (worker, assignments) = {
            let mut state = self.state.lock();
            let class = state.class(stack);
            if class.parked > 0 {
                class.parked -= 1;
                // This never blocks, because the channel has no bound.
                let sent = class.assignments.0.send(Some(job));
                return sent.map_err(|_| io::Error::other("the workers were lost"));
            }
            let assignments = class.assignments.1.clone();
            state.next += 1;
            (state.next - 1, assignments)
        };
        let pool = Arc::clone(self);
        let name = format!("backport-worker-{worker}");
        self.threads.spawn(name, stack, move || pool.work(stack, &assignments, job))
    }

    /// Ends the parked workers. Called after the machine's threads are closed, so no worker parks later.
    pub(crate) fn end_parked(&self) {
        let mut state = self.state.lock();
        for class in &mut state.classes {
            for _ in 0..std::mem::take(&mut class.parked) {
                // This never fails, because the class holds a receiver itself.
                drop(class.assignments.0.send(None));
            }
        }
    }

    fn work(&self, stack: Option<usize>, assignments: &Receiver<Assignment>, mut job: Box<dyn Job>) {
        loop {
            // The job catches panics of the user's code itself. This catches our own.
            if let Err(message) = catch_panic(|| job.run()) {
                log_panic(&message);
            }
            // The worker parks before the drop of the job gives the client's permit back. Therefore the
            // next client finds a worker, and there are never more workers than permits.
            let parked = self.park(stack);
            drop(job);
            if !parked {
                return;
            }
            match self.next(stack, assignments) {
                Some(next) => job = next,
                // The last workers of a burst leave here, long after the others have ended.
                None => return self.threads.join_ended(0),
            }
        }
    }

    /// Returns the next job of a parked worker.
    ///
    /// Not inlined, and neither is `log_panic`. Their frames would lie below that of every idle client. Its
    /// stack would then touch three pages instead of two.
    #[inline(never)]
    fn next(&self, stack: Option<usize>, assignments: &Receiver<Assignment>) -> Assignment {
        match assignments.recv_timeout(PARKED_FOR) {
            Ok(next) => next,
            Err(_) if self.leave(stack) => None,
            // This worker was taken at the last moment, so an assignment is on its way.
            Err(_) => assignments.recv().ok().flatten(),
        }
    }

    fn park(&self, stack: Option<usize>) -> bool {
        let mut state = self.state.lock();
        let parked = state.classes.iter().map(|class| class.parked).sum::<usize>();
        let parks = parked < MAX_PARKED && !self.threads.is_closed();
        state.class(stack).parked += usize::from(parks);
        parks
    }

    /// Returns `false` if every parked worker has been taken, this one included.
    fn leave(&self, stack: Option<usize>) -> bool {
        let mut state = self.state.lock();
        let class = state.class(stack);
        let leaves = class.parked > 0;
        class.parked -= usize::from(leaves);
        leaves
    }
}

impl PoolState {
    fn class(&mut self, stack: Option<usize>) -> &mut StackClass {
        let index = self.classes.iter().position(|class| class.stack == stack).unwrap_or_else(|| {
            self.classes.push(StackClass { stack, parked: 0, assignments: unbounded() });
            self.classes.len() - 1
        });
        &mut self.classes[index]
    }
}

#[cold]
#[inline(never)]
fn log_panic(message: &str) {
    error!("a worker panicked: {}", Escaped(message));
}
