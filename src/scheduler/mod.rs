//! The scheduler: the thread of a machine that runs its intervals and timeouts, one after another.
//!
//! The first job starts the thread. The thread waits until a job is due or a command comes. A job that is due
//! runs before new commands are taken. The thread ends when the machine is asked to stop. A job that is
//! running then finishes first.
//!
//! - [`schedule`] keeps the jobs in the order in which they are due.
//! - [`time`] is the clock, which is the system's clock or a manual clock that a test moves.
//! - [`interval`] is the handle of a job, for users.

pub(crate) mod interval;
pub(crate) mod schedule;
pub(crate) mod time;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{unbounded, Receiver, Sender};
use parking_lot::Mutex;

use crate::catch_panic::catch_panic;
use crate::event::{Event, Events};
use crate::logging::{error, Escaped};
use crate::scheduler::interval::Interval;
use crate::scheduler::schedule::{Due, Schedule};
use crate::scheduler::time::{ManualTime, Time};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::threads::Threads;

/// How many commands are taken after a job, even if another job is already due.
const COMMANDS_PER_JOB: usize = 64;

/// The scheduler of one machine, as other threads see it.
pub(crate) struct Scheduler {
    threads: Arc<Threads>,
    events: Events,
    commands: Sender<Command>,
    state: Mutex<SchedulerState>,
    /// How many jobs have not ended. Increased by threads that add a job, and decreased when the entry of a
    /// job is dropped. Read by the thread in `run`.
    pending: Arc<AtomicUsize>,
    /// The machine's own flag. Set by the thread that asks the machine to stop. Read by the scheduler's
    /// thread before each job, so that no job begins after a stop.
    stopping: Arc<AtomicBool>,
    /// The clock of a test. Set at most once, before the machine runs. Read by the scheduler's thread when it
    /// starts. If it is not set, the system's clock is used.
    manual: Arc<OnceLock<Arc<ManualTime>>>,
}

/// Written under the lock by threads that add a job.
struct SchedulerState {
    /// The number of the last job.
    last_id: u64,
    /// Taken by the call that starts the thread.
    receiver: Option<Receiver<Command>>,
}

/// A message to the scheduler's thread.
pub(crate) enum Command {
    /// Adds a job. Its delay is counted from this time.
    Add(u64, Entry, Instant),
    /// Drops the job with this number.
    Cancel(u64),
    /// Moves a manual clock forward. The sender is dropped when all jobs that come due have run.
    Advance(Duration, Sender<()>),
    /// Wakes the thread, which then sees that the machine was asked to stop. While the thread waits, it does
    /// not check the flag. Dropping the senders would not wake it, because each interval holds a sender.
    Wake,
}

/// A job that has not ended. When it is dropped, its interval is marked as stopped.
pub(crate) struct Entry {
    interval: Interval,
    work: Work,
    pending: Arc<AtomicUsize>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.interval.mark_stopped();
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The function of a job, and when to run it.
pub(crate) enum Work {
    /// Runs once in each period.
    Every(Duration, Box<dyn FnMut(&Interval) + Send>),
    /// Runs once after the delay. The run takes the function.
    Once(Duration, Option<Box<dyn FnOnce() + Send>>),
}

impl Scheduler {
    pub(crate) fn new(threads: Arc<Threads>, events: Events, stopping: Arc<AtomicBool>) -> Scheduler {
        let (commands, receiver) = unbounded();
        Scheduler {
            threads,
            events,
            commands,
            state: Mutex::new(SchedulerState { last_id: 0, receiver: Some(receiver) }),
            pending: Arc::default(),
            stopping,
            manual: Arc::default(),
        }
    }

    /// Returns how many jobs have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Adds a job. If the machine has already stopped, returns an interval that is already stopped.
    pub(crate) fn add(&self, work: Work) -> Interval {
        let id = {
            let mut state = self.state.lock();
            state.last_id += 1;
            state.last_id
        };
        let interval = Interval::new(id, self.commands.clone());
        self.start();
        self.pending.fetch_add(1, Ordering::AcqRel);
        let entry = Entry { interval: interval.clone(), work, pending: Arc::clone(&self.pending) };
        if !self.stopping.load(Ordering::Acquire) {
            // This fails if the thread has ended. Then the entry is dropped here.
            drop(self.commands.send(Command::Add(id, entry, Instant::now())));
        }
        interval
    }

    /// Replaces the system's clock with a clock that [`Command::Advance`] moves. Has no effect after the
    /// thread has started.
    pub(crate) fn set_manual(&self) -> (Arc<ManualTime>, Sender<Command>) {
        let time = Arc::clone(self.manual.get_or_init(|| Arc::new(ManualTime::new())));
        // The thread is needed even without a job, because it moves the time.
        self.start();
        (time, self.commands.clone())
    }

    /// Starts the thread, unless that was done before.
    fn start(&self) {
        let Some(receiver) = self.state.lock().receiver.take() else { return };
        let (events, stopping) = (self.events.clone(), Arc::clone(&self.stopping));
        let manual = Arc::clone(&self.manual);
        let run = move || {
            let time = Time::start(manual.get());
            SchedulerThread { schedule: Schedule::new(), time, events, stopping }.run(&receiver);
        };
        if let Err(error) = self.threads.spawn_user_code("backport-scheduler".to_owned(), run) {
            // The receiver is dropped now, so each job ends when it is added. If the machine is stopping, it
            // starts no more threads, and this is not a failure.
            if !self.stopping.load(Ordering::Acquire) {
                error!("cannot start the thread that runs the intervals: {error}");
            }
        }
    }

    /// Makes the thread cancel all jobs and end. A job that is running finishes first. Returns at once.
    ///
    /// The caller must set the machine's flag before.
    pub(crate) fn stop(&self) {
        debug_assert!(self.stopping.load(Ordering::Acquire), "the machine sets its flag first");
        // This fails if the thread has ended.
        drop(self.commands.send(Command::Wake));
    }
}

/// The scheduler, as its own thread sees it.
struct SchedulerThread {
    schedule: Schedule<Entry>,
    time: Time,
    events: Events,
    stopping: Arc<AtomicBool>,
}

impl SchedulerThread {
    fn run(mut self, commands: &Receiver<Command>) {
        while !self.stopping.load(Ordering::Acquire) {
            if let Some(command) = self.time.wait(self.schedule.next(), commands) {
                self.react(command);
                continue;
            }
            if let Some((due, id, entry)) = self.schedule.pop_due(self.time.target()) {
                self.run_job(due, id, entry);
            }
            // Jobs that are always late must not keep the commands waiting forever.
            commands.try_iter().take(COMMANDS_PER_JOB).for_each(|command| self.react(command));
        }
        while let Some(entry) = self.schedule.pop_any() {
            self.finish(entry);
        }
        for command in commands.try_iter() {
            if let Command::Add(_, entry, _) = command {
                self.finish(entry);
            }
        }
    }

    fn react(&mut self, command: Command) {
        match command {
            Command::Add(id, entry, added) => self.schedule(id, entry, self.time.start_of_delay(added)),
            Command::Cancel(id) => {
                if let Some(entry) = self.schedule.remove(id) {
                    self.finish(entry);
                }
            }
            Command::Advance(by, done) => self.time.advance(by, done),
            Command::Wake => {}
        }
    }

    /// Schedules the first run of a job.
    fn schedule(&mut self, id: u64, entry: Entry, start: Instant) {
        if entry.interval.is_stopped() {
            return self.finish(entry);
        }
        let (Work::Every(delay, _) | Work::Once(delay, _)) = &entry.work;
        self.schedule.insert(Due::after(start, *delay), id, entry);
    }

    /// Runs a job that is due, and schedules its next run.
    fn run_job(&mut self, due: Due, id: u64, mut entry: Entry) {
        if let Due::At(due) = due {
            self.time.set_now(due);
        }
        if entry.interval.is_stopped() {
            return self.finish(entry);
        }
        entry.interval.count_tick();
        let outcome = match &mut entry.work {
            Work::Once(_, job) => {
                let outcome = job.take().map_or(Ok(()), catch_panic);
                entry.interval.mark_stopped();
                outcome
            }
            Work::Every(_, job) => {
                let interval = &entry.interval;
                catch_panic(|| job(interval))
            }
        };
        if let Err(message) = outcome {
            error!("an interval panicked and is cancelled: {}", Escaped(message));
            entry.interval.mark_stopped();
        }
        match entry.work {
            Work::Every(period, _) if !entry.interval.is_stopped() => {
                self.schedule.insert(due.next_tick(period, self.time.now()), id, entry);
            }
            _ => self.finish(entry),
        }
    }

    /// Drops a job that has ended, and reports its end.
    fn finish(&self, entry: Entry) {
        if let Err(message) = catch_panic(move || drop(entry)) {
            error!("a panic while the job of an interval was dropped: {}", Escaped(message));
        }
        // This fails if the machine has given up on a stuck thread.
        drop(self.events.send(Event::JobEnded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_always_due_runs_before_commands_and_does_not_starve_them() {
        let (events, _received) = crate::sync::channel::unbounded();
        let (commands, receiver) = unbounded();
        let (record, recorded) = unbounded();
        let stopping = Arc::new(AtomicBool::new(false));
        let pending = Arc::new(AtomicUsize::new(2));
        let entry = |id, work| {
            let interval = Interval::new(id, commands.clone());
            Entry { interval, work, pending: Arc::clone(&pending) }
        };
        let (due, stop) = (record.clone(), Arc::clone(&stopping));
        let job = move |interval: &Interval| {
            due.send("due").expect("the test holds the receiver");
            stop.store(interval.ticks() == 1_000, Ordering::Release);
        };
        let always_due = entry(1, Work::Every(Duration::from_nanos(1), Box::new(job)));
        let job = move || record.send("added").expect("the test holds the receiver");
        let added = entry(2, Work::Once(Duration::ZERO, Some(Box::new(job))));
        // If the command were taken first, its job would be the first that is due.
        let (time, start) = (Time::start(None), Instant::now());
        commands.send(Command::Add(2, added, start)).expect("the test holds the receiver");
        let mut thread = SchedulerThread { schedule: Schedule::new(), time, events, stopping };
        thread.schedule(1, always_due, start);
        thread.run(&receiver);
        let order: Vec<_> = recorded.iter().collect();
        assert_eq!(order.first(), Some(&"due"), "the job was due before the command was taken");
        assert_eq!(order.iter().filter(|&&name| name == "added").count(), 1, "the command was taken");
        assert_eq!(pending.load(Ordering::Acquire), 0);
    }
}
