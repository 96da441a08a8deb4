//! Every thread that a machine starts: deferred until it runs, named, counted, joined at its end.
//!
//! A thread that ends is joined by the one that ends after it, so there is never more than one
//! ended thread that nobody has joined, and the machine joins that one. Threads are drained by
//! count: the last one says so, and whoever waits for it does so with a deadline.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::fence::fence;
use crate::report::{report, Escaped};
use crate::sync::channel::unbounded;
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::Mutex;

/// The threads of one machine.
pub(crate) struct Threads {
    state: Mutex<State>,
}

/// Written by those who start threads and by the threads that end, each under the lock.
struct State {
    stage: Stage,
    next: u64,
    /// Those that run. The handle is set by the starter, once it has it, and taken by the thread when
    /// it ends.
    live: BTreeMap<u64, Option<JoinHandle<()>>>,
    /// The thread that ended last.
    ended: Option<JoinHandle<()>>,
}

enum Stage {
    /// The machine doesn't run yet: what it shall start.
    Prepared(Vec<Deferred>),
    Running,
    /// Nothing more is started; what to call when the last thread has ended, until it has.
    Closed(Option<Box<dyn FnOnce() + Send>>),
}

struct Deferred {
    name: String,
    stack: Option<usize>,
    job: Job,
}

type Job = Box<dyn FnOnce() + Send>;

impl Threads {
    pub(crate) fn new() -> Arc<Threads> {
        let state = State { stage: Stage::Prepared(Vec::new()), next: 0, live: BTreeMap::new(), ended: None };
        Arc::new(Threads { state: Mutex::new(state) })
    }

    /// Starts a thread, or notes it for [`Threads::open`]. After [`Threads::close`]: an error.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        stack: Option<usize>,
        job: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let deferred = Deferred { name, stack, job: Box::new(job) };
        let end = {
            let mut state = self.state.lock();
            match &mut state.stage {
                Stage::Prepared(list) => {
                    list.push(deferred);
                    return Ok(());
                }
                Stage::Running => self.enter(&mut state),
                Stage::Closed(_) => {
                    drop(state);
                    return Err(io::Error::other("the machine has stopped"));
                }
            }
        };
        self.start(deferred, end)
    }

    /// Starts what was noted, and from now on at once. The error names the thread that failed.
    pub(crate) fn open(self: &Arc<Self>) -> Result<(), (String, io::Error)> {
        let list: Vec<(Deferred, End)> = {
            let mut state = self.state.lock();
            let Stage::Prepared(list) = &mut state.stage else { return Ok(()) };
            let list = std::mem::take(list);
            state.stage = Stage::Running;
            list.into_iter().map(|deferred| (deferred, self.enter(&mut state))).collect()
        };
        for (deferred, end) in list {
            let name = deferred.name.clone();
            self.start(deferred, end).map_err(|error| (name, error))?;
        }
        Ok(())
    }

    /// Starts nothing from now on, drops what was noted, and calls `ended` when no thread is left,
    /// which may be now. A second call does nothing.
    pub(crate) fn close(&self, ended: impl FnOnce() + Send + 'static) {
        let (stage, ended) = {
            let mut state = self.state.lock();
            if matches!(state.stage, Stage::Closed(_)) {
                return;
            }
            let stage = std::mem::replace(&mut state.stage, Stage::Closed(Some(Box::new(ended))));
            (stage, state.take_ended())
        };
        // What was noted holds listeners and user code: dropped here, outside of the lock, and one by
        // one, since a second panic on the way out of a first ends the process.
        let noted = if let Stage::Prepared(list) = stage { list } else { Vec::new() };
        for deferred in noted {
            if let Err(message) = fence(move || drop(deferred)) {
                report!(Error, "a panic in the drop of what never ran: {}", Escaped(message));
            }
        }
        if let Some(ended) = ended {
            ended();
        }
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().live.len()
    }

    /// Joins the thread that ended last, and with it all that have ended. The names of those that
    /// have not: they run, or the drop of a thread's locals takes longer than until `deadline`.
    pub(crate) fn join(&self, deadline: Instant) -> Vec<String> {
        let mut state = self.state.lock();
        let mut running: Vec<String> = state.live.values().map(|live| name(live.as_ref())).collect();
        let last = state.ended.take();
        drop(state);
        running.extend(last.and_then(|last| join_until(last, deadline)));
        running
    }

    /// Counts a thread in that will be started, under the lock that has allowed it: a close that
    /// comes between would take the last thread for ended already.
    fn enter(self: &Arc<Self>, state: &mut State) -> End {
        let id = state.next;
        state.next += 1;
        state.live.insert(id, None);
        End { threads: Arc::clone(self), id }
    }

    fn start(self: &Arc<Self>, deferred: Deferred, end: End) -> io::Result<()> {
        let Deferred { name, stack, job } = deferred;
        let id = end.id;
        let mut builder = Builder::new().name(name);
        if let Some(stack) = stack {
            builder = builder.stack_size(stack);
        }
        let handle = builder.spawn(move || {
            // Dropped when the thread ends, or with this closure where it can't be started.
            let _end = end;
            if let Err(message) = fence(job) {
                report!(Error, "a thread panicked: {}", Escaped(message));
            }
        })?;
        let mut state = self.state.lock();
        let earlier = match state.live.get_mut(&id) {
            Some(live) => live.replace(handle),
            // It has ended already.
            None => state.ended.replace(handle),
        };
        drop(state);
        join(earlier);
        Ok(())
    }
}

/// Reports a thread's end, whatever happens.
struct End {
    threads: Arc<Threads>,
    id: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.threads.state.lock();
        let handle = state.live.remove(&self.id).flatten();
        let earlier = handle.and_then(|handle| state.ended.replace(handle));
        let ended = state.take_ended();
        drop(state);
        join(earlier);
        if let Some(ended) = ended {
            ended();
        }
    }
}

impl State {
    /// What to call now that the last thread has ended, if it has.
    fn take_ended(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        match &mut self.stage {
            Stage::Closed(ended) if self.live.is_empty() => ended.take(),
            _ => None,
        }
    }
}

fn name(handle: Option<&JoinHandle<()>>) -> String {
    let name = handle.and_then(|handle| handle.thread().name());
    name.unwrap_or("a thread that is being started").to_owned()
}

/// Joins with a deadline, which std doesn't know: in a thread of its own. The name of the one that
/// can't be joined by then.
fn join_until(ended: JoinHandle<()>, deadline: Instant) -> Option<String> {
    let name = name(Some(&ended));
    let (sender, joined) = unbounded();
    let ended = Arc::new(Mutex::new(Some(ended)));
    let theirs = Arc::clone(&ended);
    let joiner = Builder::new().name("backport-joiner".to_owned()).spawn(move || {
        let ended = theirs.lock().take();
        join(ended);
        // No one listens once the deadline has passed.
        sender.send(()).unwrap_or_default();
    });
    if joiner.is_err() {
        // Better to wait for it than to leave it behind.
        let ended = ended.lock().take();
        join(ended);
        return None;
    }
    joined.recv_deadline(deadline).is_err().then_some(name)
}

fn join(ended: Option<JoinHandle<()>>) {
    // The thread's body is fenced: there is no panic to pass on.
    if ended.is_some_and(|handle| handle.join().is_err()) {
        report!(Error, "a thread ended in a panic outside of its fence");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, unbounded, Receiver};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    fn close(threads: &Threads) -> Receiver<()> {
        let (sender, ended) = bounded(1);
        threads.close(move || sender.send(()).unwrap());
        ended
    }

    #[test]
    fn starts_what_was_noted_when_it_opens() {
        let threads = Threads::new();
        let (sender, names) = unbounded();
        for name in ["one", "two"] {
            let sender = sender.clone();
            let job = move || sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
            threads.spawn(name.to_owned(), None, job).unwrap();
        }
        assert!(names.is_empty());
        threads.open().unwrap();
        close(&threads).recv_timeout(LONG).unwrap();
        assert!(threads.join(Instant::now() + LONG).is_empty());
        drop(sender);
        assert_eq!(names.iter().flatten().collect::<std::collections::BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn names_those_that_have_not_ended_and_tells_when_the_last_has() {
        let threads = Threads::new();
        threads.open().unwrap();
        let (go, wait) = bounded::<()>(0);
        threads.spawn("stuck".to_owned(), None, move || assert!(wait.recv().is_err())).unwrap();
        let ended = close(&threads);
        assert_eq!(threads.join(Instant::now() + LONG), ["stuck"]);
        assert_eq!(threads.count(), 1);
        assert!(ended.is_empty());
        drop(go);
        ended.recv_timeout(LONG).unwrap();
        assert!(threads.join(Instant::now() + LONG).is_empty());
        assert_eq!(threads.count(), 0);
    }

    #[test]
    fn joins_a_thread_to_its_last_destructor() {
        use std::sync::atomic::{AtomicBool, Ordering};

        static LEFT: AtomicBool = AtomicBool::new(false);
        struct Slow;
        impl Drop for Slow {
            fn drop(&mut self) {
                // What a thread's locals take their time for comes after all that we know of it.
                std::thread::sleep(Duration::from_millis(100));
                LEFT.store(true, Ordering::Release);
            }
        }
        std::thread_local! {
            #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
            static SLOW: Slow = const { Slow };
        }
        let threads = Threads::new();
        threads.open().unwrap();
        threads.spawn("slow".to_owned(), None, || SLOW.with(|_| ())).unwrap();
        close(&threads).recv_timeout(LONG).unwrap();
        assert!(threads.join(Instant::now() + LONG).is_empty());
        assert!(LEFT.load(Ordering::Acquire), "join did not wait");
    }

    #[test]
    fn does_not_wait_for_ever_for_what_a_threads_locals_do_in_their_drop() {
        struct Stuck(Receiver<()>);
        impl Drop for Stuck {
            fn drop(&mut self) {
                self.0.recv_timeout(LONG).unwrap_err();
            }
        }
        std::thread_local! {
            #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but not for the lint on Windows")]
            static STUCK: std::cell::RefCell<Option<Stuck>> = const { std::cell::RefCell::new(None) };
        }
        let threads = Threads::new();
        threads.open().unwrap();
        let (go, wait) = bounded::<()>(0);
        let job = move || STUCK.with(|stuck| *stuck.borrow_mut() = Some(Stuck(wait)));
        threads.spawn("stuck".to_owned(), None, job).unwrap();
        close(&threads).recv_timeout(LONG).unwrap();
        assert_eq!(threads.join(Instant::now() + Duration::from_millis(100)), ["stuck"]);
        drop(go);
    }

    #[test]
    fn starts_nothing_once_closed() {
        let threads = Threads::new();
        let (sender, receiver) = bounded::<()>(0);
        threads.spawn("noted".to_owned(), None, move || drop(sender)).unwrap();
        close(&threads).recv_timeout(LONG).unwrap();
        assert!(receiver.recv().is_err(), "what was noted is dropped");
        assert!(threads.spawn("late".to_owned(), None, || ()).is_err());
        assert!(threads.open().is_ok());
        assert_eq!(threads.count(), 0);
    }
}
