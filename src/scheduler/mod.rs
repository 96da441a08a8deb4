//! The scheduler: one thread a machine, on which intervals and timeouts run, one after another.
//!
//! It starts with the first job and ends when the machine stops; a job that runs then runs to its
//! end. It sleeps until the next job is due or a command comes.

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

/// One a machine.
pub(crate) struct Scheduler {
    threads: Arc<Threads>,
    events: Events,
    commands: Sender<Command>,
    state: Mutex<State>,
    /// Jobs that have not ended. Counted up by those who add, down by the scheduler's thread.
    pending: Arc<AtomicUsize>,
    /// Set by whoever tells the machine to stop, read by the thread between jobs: none begins after.
    stopped: Arc<AtomicBool>,
    /// In place of the system's clock, if a test asks for it before the machine runs.
    manual: Arc<OnceLock<Arc<ManualTime>>>,
}

/// Written by those who add, under the lock.
struct State {
    next: u64,
    /// For the thread, until it is started.
    receiver: Option<Receiver<Command>>,
}

/// What the scheduler's thread is told.
pub(crate) enum Command {
    Add(u64, Entry, Instant),
    Cancel(u64),
    /// Moves a manual time on; the sender is dropped when all is done that was due.
    Advance(Duration, Sender<()>),
    Stop,
}

/// A job that has not ended; its drop is its end.
pub(crate) struct Entry {
    interval: Interval,
    work: Work,
    pending: Arc<AtomicUsize>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.interval.end();
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What to run.
pub(crate) enum Work {
    Every(Duration, Box<dyn FnMut(&Interval) + Send>),
    Once(Duration, Option<Box<dyn FnOnce() + Send>>),
}

impl Scheduler {
    pub(crate) fn new(threads: Arc<Threads>, events: Events, stopped: Arc<AtomicBool>) -> Scheduler {
        let (commands, receiver) = unbounded();
        Scheduler {
            threads,
            events,
            commands,
            state: Mutex::new(State { next: 0, receiver: Some(receiver) }),
            pending: Arc::default(),
            stopped,
            manual: Arc::default(),
        }
    }

    /// How many jobs have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Adds a job. On a machine that has stopped, one that is stopped.
    pub(crate) fn add(&self, work: Work) -> Interval {
        let id = {
            let mut state = self.state.lock();
            state.next += 1;
            state.next
        };
        let interval = Interval::new(id, self.commands.clone());
        self.start();
        self.pending.fetch_add(1, Ordering::AcqRel);
        let entry = Entry { interval: interval.clone(), work, pending: Arc::clone(&self.pending) };
        if !self.stopped.load(Ordering::Acquire) {
            // Fails once the thread has ended; then the entry ends here.
            drop(self.commands.send(Command::Add(id, entry, Instant::now())));
        }
        interval
    }

    /// Lets the jobs go by a time that is moved with [`Command::Advance`]. Only before the machine
    /// runs.
    pub(crate) fn set_manual(&self) -> (Arc<ManualTime>, Sender<Command>) {
        let time = Arc::clone(self.manual.get_or_init(|| Arc::new(ManualTime::new())));
        // It moves the time, also while there is no job.
        self.start();
        (time, self.commands.clone())
    }

    /// Starts the thread, if that is still to be done.
    fn start(&self) {
        let Some(receiver) = self.state.lock().receiver.take() else { return };
        let (events, stopped) = (self.events.clone(), Arc::clone(&self.stopped));
        let manual = Arc::clone(&self.manual);
        let run = move || {
            let time = Time::start(manual.get());
            Runner { schedule: Schedule::new(), time, events, stopped }.run(&receiver);
        };
        if let Err(error) = self.threads.spawn("backport-scheduler".to_owned(), None, run) {
            // The receiver has gone, so whatever is sent to it ends at once; on a machine that has
            // stopped that is how it should be.
            if !self.stopped.load(Ordering::Acquire) {
                error!("no thread for intervals: {error}");
            }
        }
    }

    /// Cancels all jobs; the one that runs runs to its end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Fails once the thread has ended.
        drop(self.commands.send(Command::Stop));
    }
}

/// The scheduler's thread.
struct Runner {
    schedule: Schedule<Entry>,
    time: Time,
    events: Events,
    stopped: Arc<AtomicBool>,
}

impl Runner {
    fn run(mut self, commands: &Receiver<Command>) {
        while !self.stopped.load(Ordering::Acquire) {
            match self.time.wait(self.schedule.next(), commands) {
                Some(Command::Add(id, entry, added)) => self.enter(id, entry, self.time.begin(added)),
                Some(Command::Cancel(id)) => {
                    if let Some(entry) = self.schedule.remove(id) {
                        self.end(entry);
                    }
                }
                Some(Command::Advance(by, done)) => self.time.advance(by, done),
                Some(Command::Stop) => {}
                None => {
                    if let Some((due, id, entry)) = self.schedule.pop(self.time.horizon()) {
                        self.perform(due, id, entry);
                    }
                }
            }
        }
        while let Some(entry) = self.schedule.pop_any() {
            self.end(entry);
        }
        for command in commands.try_iter() {
            if let Command::Add(_, entry, _) = command {
                self.end(entry);
            }
        }
    }

    fn enter(&mut self, id: u64, entry: Entry, start: Instant) {
        if entry.interval.is_stopped() {
            return self.end(entry);
        }
        let (Work::Every(delay, _) | Work::Once(delay, _)) = &entry.work;
        self.schedule.insert(Due::after(start, *delay), id, entry);
    }

    fn perform(&mut self, due: Due, id: u64, mut entry: Entry) {
        if let Due::At(due) = due {
            self.time.reach(due);
        }
        if entry.interval.is_stopped() {
            return self.end(entry);
        }
        entry.interval.tick();
        let outcome = match &mut entry.work {
            Work::Once(_, job) => {
                let outcome = job.take().map_or(Ok(()), catch_panic);
                entry.interval.end();
                outcome
            }
            Work::Every(_, job) => {
                let interval = &entry.interval;
                catch_panic(|| job(interval))
            }
        };
        if let Err(message) = outcome {
            error!("an interval panicked and is cancelled: {}", Escaped(message));
            entry.interval.end();
        }
        match entry.work {
            Work::Every(period, _) if !entry.interval.is_stopped() => {
                self.schedule.insert(due.next_beat(period, self.time.now()), id, entry);
            }
            _ => self.end(entry),
        }
    }

    /// A job leaves.
    fn end(&self, entry: Entry) {
        if let Err(message) = catch_panic(move || drop(entry)) {
            error!("a panic in the drop of an interval's job: {}", Escaped(message));
        }
        // No one listens once the machine has given up on a stuck thread.
        drop(self.events.send(Event::JobEnded));
    }
}
