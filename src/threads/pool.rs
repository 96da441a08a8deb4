//! The workers. Each client has one, and a few workers without a client wait for the next client.
//!
//! Starting and ending a thread costs several times as much as a short connection. Therefore a worker is
//! parked for [`PARKED_FOR`] after its client has ended. A new client gets a parked worker if there is one,
//! and otherwise a new thread. It never waits for a busy worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::catch_panic::catch_panic;
use crate::logging::{error, Escaped};
use crate::sync::channel::{unbounded, Receiver, Sender};
use crate::sync::Mutex;
use crate::threads::MachineThreads;

/// The maximum number of parked workers.
const MAX_PARKED: usize = 16;
/// How long a worker stays parked.
const PARKED_FOR: Duration = Duration::from_secs(1);

/// The work for one client.
pub(crate) trait Job: Send {
    /// Serves the client until its connection has ended. Called once.
    ///
    /// Afterwards the job holds no values of the user. It is dropped when the worker is ready for the next
    /// job, which only returns the client's permit.
    fn run(&mut self);
}

/// The workers of one machine.
pub(crate) struct Pool {
    threads: Arc<MachineThreads>,
    state: Mutex<PoolState>,
}

/// Written under the lock by acceptors, which take parked workers, and by workers when they park or end.
#[derive(Default)]
struct PoolState {
    classes: Vec<StackClass>,
    next: u64,
}

/// The workers with one stack size. Parked workers wait on one channel, and any of them may get the next job.
/// A worker that has just begun to wait can get the next client before it has gone to sleep.
struct StackClass {
    stack: Option<usize>,
    /// How many workers are parked and not taken. A job is sent only after this was decreased for it.
    parked: usize,
    assignments: (Sender<Assignment>, Receiver<Assignment>),
}

/// A job for a parked worker, or `None` if the worker is to end.
type Assignment = Option<Box<dyn Job>>;

impl Pool {
    pub(crate) fn new(threads: Arc<MachineThreads>) -> Arc<Pool> {
        Arc::new(Pool { threads, state: Mutex::default() })
    }

    /// Runs `job` on a worker with this stack size. If no worker can be started, the job is dropped.
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
        self.threads.spawn(name, stack, true, move || pool.work(stack, &assignments, job))
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
            // The job itself catches panics of user code. This catches panics of the crate.
            if let Err(message) = catch_panic(|| job.run()) {
                log_panic(&message);
            }
            // The worker parks before the job is dropped, which returns the client's permit. Therefore the
            // next client finds a parked worker, and there are never more workers than permits.
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
    /// This and `log_panic` are not inlined. Otherwise their stack frames would be part of the stack of every
    /// idle client, which would then touch three pages instead of two.
    #[inline(never)]
    fn next(&self, stack: Option<usize>, assignments: &Receiver<Assignment>) -> Assignment {
        match assignments.recv_timeout(PARKED_FOR) {
            Ok(next) => next,
            Err(_) if self.leave(stack) => None,
            // This worker was taken at the last moment, so an assignment will arrive.
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
