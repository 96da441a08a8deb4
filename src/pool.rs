//! The workers: a thread per client, and a few that have just lost theirs and wait for the next.
//!
//! Starting and ending a thread costs several times what a short connection does, so a worker whose
//! client has gone parks for [`PARKED_FOR`]. A new client claims a parked worker first and gets a
//! new thread else; it never queues behind a busy one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::fence::fence;
use crate::report::{report, Escaped};
use crate::sync::channel::{unbounded, Receiver, Sender};
use crate::sync::Mutex;
use crate::threads::Threads;

/// How many workers are parked at most.
const PARKED: usize = 16;
/// For how long.
const PARKED_FOR: Duration = Duration::from_secs(1);

/// One client, to be served.
pub(crate) trait Job: Send {
    /// Serves it to its end. Called once, and after it nothing of the user's is left in the job: its
    /// drop, when the worker is free for the next, gives the client's place back, and no more.
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
    lanes: Vec<Lane>,
    next: u64,
    closed: bool,
}

/// The workers with one size of stack. Parked ones wait at one channel, whichever of them gets a job:
/// one that has just begun to wait takes it without having slept, if the next client comes at once.
struct Lane {
    stack: Option<usize>,
    /// How many are parked and not claimed. A claim is taken off here, then sent.
    parked: usize,
    jobs: (Sender<Call>, Receiver<Call>),
}

/// A job, or `None` to go home.
type Call = Option<Box<dyn Job>>;

impl Pool {
    pub(crate) fn new(threads: Arc<Threads>) -> Arc<Pool> {
        Arc::new(Pool { threads, state: Mutex::default() })
    }

    /// Has `job` run by a worker with this stack size. If that can't be, the job is dropped.
    pub(crate) fn run(self: &Arc<Self>, stack: Option<usize>, job: Box<dyn Job>) -> io::Result<()> {
        let (worker, jobs) = {
            let mut state = self.state.lock();
            let lane = state.lane(stack);
            if lane.parked > 0 {
                lane.parked -= 1;
                // Never waits: the channel has no bound, and is as long as there are claims.
                return lane.jobs.0.send(Some(job)).map_err(|_| io::Error::other("the workers were lost"));
            }
            let jobs = lane.jobs.1.clone();
            state.next += 1;
            (state.next - 1, jobs)
        };
        let pool = Arc::clone(self);
        let name = format!("backport-worker-{worker}");
        self.threads.spawn(name, stack, move || pool.work(stack, &jobs, job))
    }

    /// Sends the parked ones home. Those that work follow when they are done.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for lane in &mut state.lanes {
            for _ in 0..std::mem::take(&mut lane.parked) {
                // The lane has a receiver itself.
                drop(lane.jobs.0.send(None));
            }
        }
    }

    fn work(&self, stack: Option<usize>, jobs: &Receiver<Call>, mut job: Box<dyn Job>) {
        loop {
            // The job fences the user's code itself; this is for ours.
            if let Err(message) = fence(|| job.run()) {
                tell(&message);
            }
            // Parked first, then the client's place is given free: who takes it finds a worker, and
            // there is never one more than places.
            let parked = self.park(stack);
            drop(job);
            match parked.then(|| self.next(stack, jobs)).flatten() {
                Some(next) => job = next,
                None => return,
            }
        }
    }

    /// The next job of a parked worker.
    ///
    /// Not inlined, and neither is `tell`: their frames would lie under that of every idle client,
    /// whose stack touches two pages without them and three with them.
    #[inline(never)]
    fn next(&self, stack: Option<usize>, jobs: &Receiver<Call>) -> Call {
        match jobs.recv_timeout(PARKED_FOR) {
            Ok(next) => next,
            Err(_) if self.withdraw(stack) => None,
            // All were claimed at the last moment: a job is on its way.
            Err(_) => jobs.recv().ok().flatten(),
        }
    }

    fn park(&self, stack: Option<usize>) -> bool {
        let mut state = self.state.lock();
        let parks = !state.closed && state.lanes.iter().map(|lane| lane.parked).sum::<usize>() < PARKED;
        state.lane(stack).parked += usize::from(parks);
        parks
    }

    /// False if every parked worker was claimed meanwhile, this one with them.
    fn withdraw(&self, stack: Option<usize>) -> bool {
        let mut state = self.state.lock();
        let lane = state.lane(stack);
        let left = lane.parked > 0;
        lane.parked -= usize::from(left);
        left
    }
}

impl State {
    fn lane(&mut self, stack: Option<usize>) -> &mut Lane {
        let index = self.lanes.iter().position(|lane| lane.stack == stack).unwrap_or_else(|| {
            self.lanes.push(Lane { stack, parked: 0, jobs: unbounded() });
            self.lanes.len() - 1
        });
        &mut self.lanes[index]
    }
}

#[cold]
#[inline(never)]
fn tell(message: &str) {
    report!(Error, "a worker panicked: {}", Escaped(message));
}
