//! [`Jobs`]: the schedule of a machine, which several threads change, and the loop of the thread that runs it.
//!
//! The lock of the schedule is held only for a moment, and never while user code runs. It ends with
//! [`EndJobs`], which cancels all jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catch_panic::catch_panic;
use crate::event::{Event, Events};
use crate::logging::{error, Escaped};
use crate::scheduler::interval::Interval;
use crate::scheduler::schedule::{Due, Schedule};
use crate::scheduler::time::Time;
use crate::scheduler::Work;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The jobs of one machine. The scheduler, its thread and every interval share them.
pub(crate) struct Jobs {
    /// Held by a thread that adds or cancels a job. Without it, many such threads would take `state` in turns,
    /// and the scheduler's thread would wait behind all of them with a job that is due.
    gate: Mutex<()>,
    state: Mutex<SchedulerState>,
    /// Signalled if the scheduler's thread must not sleep on: a job is due earlier, a test moves the clock, or
    /// the machine stops.
    changed: Condvar,
    /// How many jobs have not ended. Increased by threads that add a job, and decreased when the function of
    /// a job has been dropped. Read by the thread in `run`.
    pending: AtomicUsize,
    /// `true` while a `JobEnded` is on its way. Set by the thread that ends the last job, and cleared by the
    /// thread in `run` when it receives the event.
    reported: AtomicBool,
    events: Events,
    /// The machine's own flag. Set by the thread that asks the machine to stop. Read by the scheduler's
    /// thread before each job, so that no job begins after a stop.
    stopping: Arc<AtomicBool>,
}

/// Written under the lock by threads that add or cancel jobs, by tests that move the clock, and by the
/// scheduler's thread.
struct SchedulerState {
    schedule: Schedule<Job>,
    time: Time,
    /// The number of the last job.
    last_id: u64,
    thread: ThreadStage,
    /// The time until which the scheduler's thread sleeps. `None` while it is awake or about to wake.
    asleep_until: Option<Due>,
}

/// The stages of the scheduler's thread, in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadStage {
    /// No job was added yet.
    None,
    /// The thread starts with the machine. Until then, no delay has begun and no job has a time.
    Starting,
    Running,
    /// No more jobs are accepted.
    Ended,
}

/// A job that has not ended.
pub(crate) struct Job {
    interval: Interval,
    work: Work,
}

impl Jobs {
    pub(super) fn new(events: Events, stopping: Arc<AtomicBool>) -> Arc<Jobs> {
        let state = SchedulerState {
            schedule: Schedule::new(),
            time: Time::new(),
            last_id: 0,
            thread: ThreadStage::None,
            asleep_until: None,
        };
        Arc::new(Jobs {
            gate: Mutex::new(()),
            state: Mutex::new(state),
            changed: Condvar::new(),
            pending: AtomicUsize::new(0),
            reported: AtomicBool::new(false),
            events,
            stopping,
        })
    }

    /// Returns how many jobs have not ended.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Returns `true` if the caller must start the thread.
    pub(super) fn begin_start(&self) -> bool {
        let mut state = self.state.lock();
        let first = state.thread == ThreadStage::None;
        if first {
            state.thread = ThreadStage::Starting;
        }
        first
    }

    /// Notes that the thread could not be started.
    pub(super) fn start_failed(&self) {
        self.state.lock().thread = ThreadStage::None;
    }

    /// Replaces the system's clock by a manual clock, unless the clock has started.
    pub(super) fn set_manual(&self) {
        let mut state = self.state.lock();
        if state.thread == ThreadStage::Starting {
            state.time.set_manual();
        }
    }

    /// Wakes the thread, so that it sees that the machine is asked to stop.
    pub(super) fn wake(&self) {
        // With the lock, the thread has not read the flag yet, or it already waits for the notification.
        drop(self.state.lock());
        self.changed.notify_one();
    }

    /// Notes that `JobEnded` was received.
    pub(super) fn end_received(&self) {
        // This reads the value that the sender has written. Therefore the caller sees the end of that job.
        self.reported.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn add(self: &Arc<Self>, work: Work) -> Interval {
        self.pending.fetch_add(1, Ordering::AcqRel);
        let gate = self.gate.lock();
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let interval = Interval::new(id, Arc::clone(self));
        let job = Job { interval: interval.clone(), work };
        // Without a thread, the thread has ended or could not be started.
        if matches!(state.thread, ThreadStage::None | ThreadStage::Ended) || self.is_stopping() {
            drop((state, gate));
            self.finish(job);
            return interval;
        }
        // Before the thread has started, the clock has no time, and `started` schedules the job again.
        let due = state.time.start_of_delay().map_or(Due::Never, |start| Due::after(start, job.work.delay()));
        state.schedule.insert(due, id, job);
        let wake = state.wakes_before(due);
        MutexGuard::unlock_fair(state);
        drop(gate);
        if wake {
            self.changed.notify_one();
        }
        interval
    }

    /// Ends a job that was marked as stopped, and drops its function on this thread. Does nothing if the job
    /// is running, because then the scheduler's thread ends it after the run.
    pub(super) fn cancel(&self, id: u64) {
        let gate = self.gate.lock();
        let mut state = self.state.lock();
        let job = state.schedule.remove(id);
        // If the scheduler's thread waits for the lock, it is the next owner.
        MutexGuard::unlock_fair(state);
        drop(gate);
        if let Some(job) = job {
            self.finish(job);
        }
    }

    /// Runs jobs until the machine is asked to stop, on the scheduler's thread.
    fn run(&self) {
        let mut state = self.state.lock();
        state.started();
        while !self.is_stopping() {
            let target = state.time.target();
            if let Some((due, id, job)) = state.schedule.pop_due(target) {
                // A cancelled job may still be here, because its canceller waits for the lock.
                if job.interval.is_stopped() {
                    drop(state);
                    self.finish(job);
                } else {
                    // With the lock, a job that is cancelled now has begun, and a job that was cancelled
                    // before does not begin.
                    job.interval.count_tick();
                    state.time.set_now(due);
                    drop(state);
                    self.run_job(due, id, job);
                }
                state = self.state.lock();
                continue;
            }
            let arrived = state.time.reach_target();
            if !arrived.is_empty() {
                drop(state);
                // This wakes the tests that have moved the clock.
                drop(arrived);
                state = self.state.lock();
                continue;
            }
            self.sleep(&mut state);
        }
    }

    /// Waits until the first job is due, or until another thread wakes this one.
    fn sleep(&self, state: &mut MutexGuard<'_, SchedulerState>) {
        match state.time.wake_up(state.schedule.next()) {
            Some(due) => {
                state.asleep_until = Some(Due::At(due));
                self.changed.wait_until(state, due);
            }
            None => {
                state.asleep_until = Some(Due::Never);
                self.changed.wait(state);
            }
        }
        state.asleep_until = None;
    }

    /// Runs a job that is due, and schedules its next run.
    fn run_job(&self, due: Due, id: u64, mut job: Job) {
        let outcome = match &mut job.work {
            Work::Once(_, function) => {
                let outcome = function.take().map_or(Ok(()), catch_panic);
                job.interval.mark_stopped();
                outcome
            }
            Work::Every(_, function) => {
                let interval = &job.interval;
                catch_panic(|| function(interval))
            }
        };
        if let Err(message) = outcome {
            error!("an interval panicked and is cancelled: {}", Escaped(message));
            job.interval.mark_stopped();
        }
        if let Work::Every(period, _) = job.work {
            let mut state = self.state.lock();
            // With the lock, a cancellation comes before this check or finds the job in the schedule.
            if !job.interval.is_stopped() {
                let next = due.next_tick(period, state.time.now());
                state.schedule.insert(next, id, job);
                return;
            }
        }
        self.finish(job);
    }

    /// Drops the function of a job that has ended, and reports the end if it was the last job.
    ///
    /// At most one `JobEnded` waits in the control channel, however many jobs end. If the last job ends while
    /// the event of an earlier end is on its way, no second one is sent. The thread in `run` clears the mark
    /// when it receives the event, and reads the number of jobs after that. If this function finds the mark
    /// set, the mark is cleared later, so that thread sees this end too.
    fn finish(&self, job: Job) {
        let Job { interval, work } = job;
        interval.mark_stopped();
        if let Err(message) = catch_panic(move || drop(work)) {
            error!("a panic while the job of an interval was dropped: {}", Escaped(message));
        }
        let last = self.pending.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && !self.reported.swap(true, Ordering::AcqRel) {
            // This fails if the machine has given up on a stuck thread.
            drop(self.events.send(Event::JobEnded));
        }
    }

    /// Moves a manual clock forward by `by`. Returns a receiver that is disconnected when all jobs that come
    /// due have run. Returns `None` if no job can run any more.
    pub(crate) fn advance(&self, by: Duration) -> Option<crossbeam_channel::Receiver<()>> {
        let mut state = self.state.lock();
        if state.thread == ThreadStage::Ended {
            return None;
        }
        let (done, arrived) = crossbeam_channel::bounded(0);
        state.time.advance(by, done);
        drop(state);
        self.changed.notify_one();
        Some(arrived)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().schedule.is_empty()
    }

    /// Returns the time of the clock.
    pub(crate) fn now(&self) -> Instant {
        self.state.lock().time.now()
    }

    /// Returns `true` on the scheduler's thread, which cannot wait for itself.
    pub(crate) fn is_scheduler_thread(&self) -> bool {
        self.state.lock().time.is_own_thread()
    }
}

impl SchedulerState {
    /// Returns `true` if the caller must wake the thread, because it sleeps longer than until `due`. For a job
    /// that is removed, it need not be woken: it wakes once too early, and then sleeps until the next job.
    fn wakes_before(&mut self, due: Due) -> bool {
        let wake = self.asleep_until.is_some_and(|until| due < until);
        if wake {
            self.asleep_until = None;
        }
        wake
    }

    /// Starts the clock, and schedules the jobs that were added before.
    fn started(&mut self) {
        self.thread = ThreadStage::Running;
        let start = self.time.start();
        for (id, job) in std::mem::replace(&mut self.schedule, Schedule::new()).into_entries() {
            self.schedule.insert(Due::after(start, job.work.delay()), id, job);
        }
    }
}

/// A guard. When it drops, because the thread has ended or never runs, all jobs are cancelled and no more
/// jobs are accepted.
pub(super) struct EndJobs(pub(super) Arc<Jobs>);

impl EndJobs {
    pub(super) fn run(self) {
        self.0.run();
    }
}

impl Drop for EndJobs {
    fn drop(&mut self) {
        let (schedule, waiting) = {
            let mut state = self.0.state.lock();
            state.thread = ThreadStage::Ended;
            (std::mem::replace(&mut state.schedule, Schedule::new()), state.time.take_waiting())
        };
        for (_, job) in schedule.into_entries() {
            self.0.finish(job);
        }
        drop(waiting);
    }
}
