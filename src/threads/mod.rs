//! The threads of a machine. They are deferred until the machine runs, named, counted, and joined when it
//! stops.
//!
//! A thread counts as ended only after the destructors of its thread-locals have run. The guard that reports
//! its end is a thread-local itself, and is dropped last ([`LAST`]). Therefore a destructor that hangs is
//! noticed, and a slow destructor delays no other thread. Windows is an exception: it runs destructors under
//! one lock, which every thread needs to start and to end.
//!
//! Threads that have ended are joined when the next thread starts, when a worker leaves the pool, and at the
//! stop by the thread in `run`. A join waits only for the operating system, never for user code. A thread
//! that ends joins no other: in a stop of thousands of clients, these joins would compete with the ends of
//! the others.
//!
//! Each thread says when it runs [user code](mod@user_code). If the machine has to give up on threads, it names
//! these threads first, because all other code ends by itself.

pub(crate) mod pool;
pub(crate) mod user_code;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::catch_panic::catch_panic;
use crate::logging::{error, Escaped};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{thread_local, Mutex};
use crate::threads::user_code::{user_code, Label, UserCode};

/// A thread that starts another one leaves this many ended threads unjoined. The system may still be busy with
/// the newest ones, and the acceptor must not wait for it.
const NEWEST: usize = 16;

/// The threads of one machine.
pub(crate) struct MachineThreads {
    table: Mutex<ThreadTable>,
    /// `true` if no more threads are started. Set by `close`, and read by threads that decide whether to wait
    /// for more work.
    closed: AtomicBool,
}

/// Written under the lock by threads that start others and by threads that end.
struct ThreadTable {
    stage: ThreadStage,
    next: u64,
    /// The running threads.
    live: BTreeMap<u64, LiveThread>,
    /// The threads that have ended and are not joined yet.
    ended: Vec<JoinHandle<()>>,
}

struct LiveThread {
    /// Set as soon as the start has returned it.
    handle: Option<JoinHandle<()>>,
    user_code: Arc<UserCode>,
}

enum ThreadStage {
    /// The machine does not run yet. These threads start when it runs.
    Prepared(Vec<Deferred>),
    Running,
    /// No more threads are started. Holds the function to call when the last thread has ended.
    Closed(Option<Box<dyn FnOnce() + Send>>),
}

struct Deferred {
    name: String,
    stack: Option<usize>,
    job: Box<dyn FnOnce() + Send>,
}

thread_local! {
    /// Set as the first action of a thread. Most systems drop thread-locals in the reverse order of their
    /// first use in the thread, so this is the last one there.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but the lint is wrong on Windows")]
    static FIRST: RefCell<Option<Relay>> = const { RefCell::new(None) };
    /// The guard of a thread whose thread-locals are dropped. Set by the drop of `FIRST`.
    ///
    /// `windows-gnu` drops thread-locals in rounds, and those that the process has used last come first in
    /// each. This one is used after `FIRST`, so it is dropped in a later round than all the others.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, but the lint is wrong on Windows")]
    static LAST: RefCell<Option<End>> = const { RefCell::new(None) };
}

/// Moves the guard of a thread to [`LAST`].
struct Relay(Option<End>);

impl Drop for Relay {
    fn drop(&mut self) {
        let end = self.0.take();
        LAST.with(|slot| *slot.borrow_mut() = end);
    }
}

impl MachineThreads {
    pub(crate) fn new() -> Arc<MachineThreads> {
        let table = ThreadTable {
            stage: ThreadStage::Prepared(Vec::new()),
            next: 0,
            live: BTreeMap::new(),
            ended: Vec::new(),
        };
        Arc::new(MachineThreads { table: Mutex::new(table), closed: AtomicBool::new(false) })
    }

    /// Starts a thread, or defers it until [`MachineThreads::open`].
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started, and after [`MachineThreads::close`]. With `even_if_closed`, it
    /// fails only after the last thread has ended, because callbacks that end connections may need threads.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        stack: Option<usize>,
        even_if_closed: bool,
        job: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let deferred = Deferred { name, stack, job: Box::new(job) };
        let end = {
            let mut table = self.table.lock();
            match &mut table.stage {
                ThreadStage::Prepared(list) => {
                    list.push(deferred);
                    return Ok(());
                }
                ThreadStage::Running => self.register(&mut table),
                ThreadStage::Closed(Some(_)) if even_if_closed => self.register(&mut table),
                ThreadStage::Closed(_) => {
                    drop(table);
                    return Err(io::Error::other("the machine has stopped"));
                }
            }
        };
        self.start(deferred, end)
    }

    /// Starts a thread like [`MachineThreads::spawn`]. The whole job counts as user code.
    pub(crate) fn spawn_user_code(
        self: &Arc<Self>,
        name: String,
        job: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let label: Label = Arc::new(name.clone());
        self.spawn(name, None, false, move || {
            user_code(Some(label));
            let outcome = catch_panic(job);
            user_code(None);
            if let Err(message) = outcome {
                error!("a thread panicked: {}", Escaped(message));
            }
        })
    }

    /// Starts the deferred threads. From now on `spawn` starts a thread at once.
    ///
    /// # Errors
    /// Returns the name of the thread that could not be started, and the error of the operating system.
    pub(crate) fn open(self: &Arc<Self>) -> Result<(), (String, io::Error)> {
        let list: Vec<(Deferred, End)> = {
            let mut table = self.table.lock();
            let ThreadStage::Prepared(list) = &mut table.stage else { return Ok(()) };
            let list = std::mem::take(list);
            table.stage = ThreadStage::Running;
            list.into_iter().map(|deferred| (deferred, self.register(&mut table))).collect()
        };
        for (deferred, end) in list {
            let name = deferred.name.clone();
            self.start(deferred, end).map_err(|error| (name, error))?;
        }
        Ok(())
    }

    /// Refuses to start more threads from now on, and drops the deferred threads. Calls `ended` when no
    /// thread is left, which may be at once. A second call does nothing.
    pub(crate) fn close(&self, ended: impl FnOnce() + Send + 'static) {
        let (stage, ended) = {
            let mut table = self.table.lock();
            if matches!(table.stage, ThreadStage::Closed(_)) {
                return;
            }
            self.closed.store(true, Ordering::Release);
            let stage = std::mem::replace(&mut table.stage, ThreadStage::Closed(Some(Box::new(ended))));
            (stage, table.take_ended_call())
        };
        // Deferred threads hold listeners and user code. They are dropped without the lock and one by one,
        // because a second panic during the unwinding of a first would end the process.
        let deferred = if let ThreadStage::Prepared(list) = stage { list } else { Vec::new() };
        for deferred in deferred {
            if let Err(message) = catch_panic(move || drop(deferred)) {
                error!("a panic while a thread that never ran was dropped: {}", Escaped(message));
            }
        }
        if let Some(ended) = ended {
            ended();
        }
    }

    /// Returns `true` if no more threads are started.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns the number of running threads.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().live.len()
    }

    /// Returns `true` if a thread runs user code.
    pub(crate) fn is_in_user_code(&self) -> bool {
        !self.in_user_code().is_empty()
    }

    /// Returns what runs on each thread that runs user code.
    fn in_user_code(&self) -> Vec<Label> {
        let live: Vec<_> = {
            let table = self.table.lock();
            table.live.values().map(|live| Arc::clone(&live.user_code)).collect()
        };
        live.iter().filter_map(|code| code.label()).collect()
    }

    /// Joins every thread that has ended, and describes the threads that have not. If some of them run user
    /// code, describes only these, because all others end by themselves.
    pub(crate) fn join(&self) -> Vec<String> {
        self.join_ended(0);
        let stuck = self.in_user_code();
        if !stuck.is_empty() {
            return stuck.iter().map(ToString::to_string).collect();
        }
        let table = self.table.lock();
        table.live.values().map(|live| name(live.handle.as_ref())).collect()
    }

    /// Counts a thread that is about to start. The caller still holds the lock under which the start was
    /// allowed. Otherwise a `close` could come in between and find that the last thread has ended.
    fn register(self: &Arc<Self>, table: &mut ThreadTable) -> End {
        let id = table.next;
        table.next += 1;
        table.live.insert(id, LiveThread { handle: None, user_code: Arc::default() });
        End { threads: Arc::clone(self), id }
    }

    fn start(self: &Arc<Self>, deferred: Deferred, end: End) -> io::Result<()> {
        self.join_ended(NEWEST);
        let Deferred { name, stack, job } = deferred;
        let id = end.id;
        let mut builder = Builder::new().name(name);
        if let Some(stack) = stack {
            builder = builder.stack_size(stack);
        }
        // If the thread cannot be started, the guard drops with this closure.
        let code = self.table.lock().live.get(&id).map(|live| Arc::clone(&live.user_code));
        let handle = builder.spawn(move || {
            FIRST.with(|slot| *slot.borrow_mut() = Some(Relay(Some(end))));
            UserCode::set_of_this_thread(code);
            if let Err(message) = catch_panic(job) {
                error!("a thread panicked: {}", Escaped(message));
            }
        })?;
        let mut table = self.table.lock();
        match table.live.get_mut(&id) {
            Some(live) => live.handle = Some(handle),
            // The thread has ended already.
            None => table.ended.push(handle),
        }
        Ok(())
    }

    /// Joins the threads that have ended, except the last `kept` of them.
    pub(super) fn join_ended(&self, kept: usize) {
        let ended: Vec<_> = {
            let ended = &mut self.table.lock().ended;
            ended.drain(..ended.len().saturating_sub(kept)).collect()
        };
        for handle in ended {
            // Panics are caught within the thread, so the join should not return any.
            if handle.join().is_err() {
                error!("a thread ended with an uncaught panic");
            }
        }
    }
}

/// Reports the end of a thread, also after a panic.
struct End {
    threads: Arc<MachineThreads>,
    id: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let ended = {
            let mut table = self.threads.table.lock();
            let live = table.live.remove(&self.id);
            table.ended.extend(live.and_then(|live| live.handle));
            table.take_ended_call()
        };
        if let Some(ended) = ended {
            ended();
        }
    }
}

impl ThreadTable {
    /// If the last thread has ended, takes the function to call.
    fn take_ended_call(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        match &mut self.stage {
            ThreadStage::Closed(ended) if self.live.is_empty() => ended.take(),
            _ => None,
        }
    }
}

fn name(handle: Option<&JoinHandle<()>>) -> String {
    let name = handle.and_then(|handle| handle.thread().name());
    name.unwrap_or("a thread that is about to start").to_owned()
}

#[cfg(test)]
mod tests;
