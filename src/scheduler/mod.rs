//! The scheduler: the intervals and timeouts of a machine, and the thread that runs them, one after another.
//!
//! The jobs are in one schedule, under one lock. The thread that adds or cancels a job changes the schedule
//! itself. There is no queue of commands, so nothing can pile up while the scheduler's thread is busy, and a
//! job that is due never waits for commands. The function of a cancelled job is dropped by the thread that
//! cancels it, because only then is the memory free at once, however long another job runs.
//!
//! The first job starts the scheduler's thread. The thread waits until the first job is due. Another thread
//! wakes it only if a new job is due earlier than that. The thread ends when the machine is asked to stop. A
//! job that is running then finishes first.
//!
//! - [`schedule`] keeps the jobs in the order in which they are due.
//! - [`time`] is the clock, which is the system's clock or a manual clock that a test moves.
//! - [`interval`] is the handle of a job, for users.

pub(crate) mod interval;
pub(crate) mod schedule;
pub(crate) mod time;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catch_panic::catch_panic;
use crate::event::{Event, Events};
use crate::logging::{error, Escaped};
use crate::scheduler::interval::Interval;
use crate::scheduler::schedule::{Due, Schedule};
use crate::scheduler::time::Time;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::threads::Threads;

/// The scheduler of one machine, as the machine sees it.
pub(crate) struct Scheduler {
    threads: Arc<Threads>,
    jobs: Arc<Jobs>,
}

/// The jobs of one machine. The scheduler, its thread and every interval share them.
pub(crate) struct Jobs {
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

/// The function of a job, and when to run it.
pub(crate) enum Work {
    /// Runs once in each period.
    Every(Duration, Box<dyn FnMut(&Interval) + Send>),
    /// Runs once after the delay. The run takes the function.
    Once(Duration, Option<Box<dyn FnOnce() + Send>>),
}

impl Work {
    fn delay(&self) -> Duration {
        match self {
            Work::Every(delay, _) | Work::Once(delay, _) => *delay,
        }
    }
}

impl Scheduler {
    pub(crate) fn new(threads: Arc<Threads>, events: Events, stopping: Arc<AtomicBool>) -> Scheduler {
        Scheduler { threads, jobs: Jobs::new(events, stopping) }
    }

    /// Returns how many jobs have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.jobs.pending.load(Ordering::Acquire)
    }

    /// Adds a job. If the machine has already stopped, returns an interval that is already stopped.
    pub(crate) fn add(&self, work: Work) -> Interval {
        self.start();
        self.jobs.add(work)
    }

    /// Replaces the system's clock with a clock that [`Jobs::advance`] moves. Has no effect after the thread
    /// has started.
    pub(crate) fn set_manual(&self) -> Arc<Jobs> {
        // The thread is needed even without a job, because it moves the time.
        self.start();
        let mut state = self.jobs.state.lock();
        if state.thread == ThreadStage::Starting {
            state.time.set_manual();
        }
        drop(state);
        Arc::clone(&self.jobs)
    }

    /// Starts the thread, unless that was done before.
    fn start(&self) {
        {
            let mut state = self.jobs.state.lock();
            if state.thread != ThreadStage::None {
                return;
            }
            state.thread = ThreadStage::Starting;
        }
        // If the thread never runs, the guard drops with this closure.
        let end = EndJobs(Arc::clone(&self.jobs));
        let run = move || end.run();
        if let Err(error) = self.threads.spawn("backport-scheduler".to_owned(), None, run) {
            // If the machine is stopping, it starts no more threads, and this is not a failure.
            if !self.jobs.is_stopping() {
                error!("cannot start the thread that runs the intervals: {error}");
                // The next job tries again.
                self.jobs.state.lock().thread = ThreadStage::None;
            }
        }
    }

    /// Makes the thread cancel all jobs and end. A job that is running finishes first. Returns at once.
    ///
    /// The caller must set the machine's flag before.
    pub(crate) fn stop(&self) {
        debug_assert!(self.jobs.is_stopping(), "the machine sets its flag first");
        // With the lock, the thread has not read the flag yet, or it already waits for the notification.
        drop(self.jobs.state.lock());
        self.jobs.changed.notify_one();
    }

    /// Notes that `JobEnded` was received. The caller must read [`Scheduler::pending`] after this.
    pub(crate) fn job_ended_received(&self) {
        // This reads the value that the sender has written. Therefore the caller sees the end of that job.
        self.jobs.reported.swap(false, Ordering::AcqRel);
    }
}

impl Jobs {
    fn new(events: Events, stopping: Arc<AtomicBool>) -> Arc<Jobs> {
        let state = SchedulerState {
            schedule: Schedule::new(),
            time: Time::new(),
            last_id: 0,
            thread: ThreadStage::None,
            asleep_until: None,
        };
        Arc::new(Jobs {
            state: Mutex::new(state),
            changed: Condvar::new(),
            pending: AtomicUsize::new(0),
            reported: AtomicBool::new(false),
            events,
            stopping,
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn add(self: &Arc<Self>, work: Work) -> Interval {
        self.pending.fetch_add(1, Ordering::AcqRel);
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = state.last_id;
        let interval = Interval::new(id, Arc::clone(self));
        let job = Job { interval: interval.clone(), work };
        // Without a thread, the thread has ended or could not be started.
        if matches!(state.thread, ThreadStage::None | ThreadStage::Ended) || self.is_stopping() {
            drop(state);
            self.finish(job);
            return interval;
        }
        // Before the thread has started, the clock has no time, and `started` schedules the job again.
        let due = state.time.start_of_delay().map_or(Due::Never, |start| Due::after(start, job.work.delay()));
        state.schedule.insert(due, id, job);
        self.wake_before(state, due);
        interval
    }

    /// Ends a job that was marked as stopped, and drops its function on this thread. Does nothing if the job
    /// is running, because then the scheduler's thread ends it after the run.
    pub(super) fn cancel(&self, id: u64) {
        let job = self.state.lock().schedule.remove(id);
        if let Some(job) = job {
            self.finish(job);
        }
    }

    /// Releases the lock, and wakes the thread if it sleeps longer than until `due`. For a removed job it need
    /// not be woken: it wakes once too early, and then sleeps until the next job.
    fn wake_before(&self, mut state: MutexGuard<'_, SchedulerState>, due: Due) {
        let wake = state.asleep_until.is_some_and(|until| due < until);
        if wake {
            state.asleep_until = None;
        }
        drop(state);
        if wake {
            self.changed.notify_one();
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
struct EndJobs(Arc<Jobs>);

impl EndJobs {
    fn run(self) {
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
