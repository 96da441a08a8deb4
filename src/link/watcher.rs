//! The machine's watcher: one thread that waits until there is room to write to clients that read
//! slowly, and that comes back to readers that were kicked.
//!
//! It starts with the first server that will want it, while there are descriptors to be had, and
//! ends when the machine tells it to. It runs no user code and never blocks outside of its wait.
//! Where a descriptor can't be watched (the kernel has no memory for it, or there is no watcher),
//! `watch` says so and the waiting thread polls at [`PATIENCE`] instead. A watcher that could not be
//! started is tried again; one whose own wait fails wakes all who wait, at the same pace.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;

use super::parking::Parking;
use super::{NOTICE, PATIENCE};
use crate::report::{report, Limiter};
use crate::threads::Threads;

const WAKE: Token = Token(usize::MAX);
/// How long after a failed start the next one is tried.
const RETRY: Duration = Duration::from_secs(1);
/// As good as: a start takes less, or is no longer wanted.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Whom the watcher comes back to.
pub(crate) trait Overdue: Send + Sync {
    /// The notice has passed, which was given anew `reminders` times. False asks for one more.
    /// Must not block.
    fn overdue(&self, reminders: u32) -> bool;
}

struct Notice {
    until: Instant,
    reminders: u32,
    to: Weak<dyn Overdue>,
}

/// One a machine.
pub(crate) struct Watcher {
    threads: Arc<Threads>,
    /// Set once it has been started.
    poll: OnceLock<Handle>,
    /// When the next start may be tried. Written by whoever tries one.
    next_start: Mutex<Option<Instant>>,
    warnings: Limiter,
    table: Arc<Mutex<Table>>,
}

struct Handle {
    registry: Registry,
    waker: Waker,
}

/// Written by those who park for the first time, those who end and those who kick; read by the
/// watcher's thread.
#[derive(Default)]
struct Table {
    next: usize,
    parked: HashMap<usize, Weak<Parking>>,
    /// Who was given notice, in the order in which it passes.
    noticed: VecDeque<Notice>,
    stopped: bool,
}

impl Watcher {
    pub(crate) fn new(threads: Arc<Threads>) -> Watcher {
        Watcher {
            threads,
            poll: OnceLock::new(),
            next_start: Mutex::default(),
            warnings: Limiter::default(),
            table: Arc::default(),
        }
    }

    /// Starts it if that has not been done: the server does, before clients may have taken the last
    /// descriptors, and whoever needs it, for the case that it failed. Not with a lock held: a
    /// failure is logged.
    pub(crate) fn prepare(&self) {
        if self.poll.get().is_some() {
            return;
        }
        let now = Instant::now();
        {
            // Those who come while it is being started poll meanwhile.
            let mut next = self.next_start.lock();
            if next.is_some_and(|next| now < next) {
                return;
            }
            *next = Some(now + FOR_EVER);
        }
        match self.start() {
            Ok(handle) => {
                let handle = self.poll.get_or_init(|| handle);
                // A stop that came meanwhile found no one to wake.
                if self.table.lock().stopped {
                    handle.wake();
                }
            }
            Err(error) => {
                *self.next_start.lock() = Some(now + RETRY);
                if !self.table.lock().stopped && self.warnings.admit(now).is_some() {
                    report!(Warn, "no watcher, slow clients are polled until there is one: {error}");
                }
            }
        }
    }

    /// Enters one that will park. The token goes with [`Watcher::forget`].
    pub(crate) fn enroll(&self, parking: Weak<Parking>) -> usize {
        let mut table = self.table.lock();
        let token = table.next;
        table.next += 1;
        table.parked.insert(token, parking);
        token
    }

    pub(crate) fn forget(&self, token: usize) {
        self.table.lock().parked.remove(&token);
    }

    /// Watches a descriptor anew: what is ready now is told too.
    pub(crate) fn watch(
        &self,
        descriptor: RawFd,
        token: usize,
        interest: Interest,
        registered: bool,
    ) -> io::Result<()> {
        let registry = &self.handle()?.registry;
        let mut source = SourceFd(&descriptor);
        if registered {
            registry.reregister(&mut source, Token(token), interest)
        } else {
            registry.register(&mut source, Token(token), interest)
        }
    }

    pub(crate) fn unwatch(&self, descriptor: RawFd) -> io::Result<()> {
        self.handle()?.registry.deregister(&mut SourceFd(&descriptor))
    }

    /// Has [`Overdue::overdue`] called after [`NOTICE`]. False if there is no thread for it.
    pub(crate) fn give_notice(&self, to: Weak<dyn Overdue>) -> bool {
        self.prepare();
        let Ok(handle) = self.handle() else { return false };
        let mut table = self.table.lock();
        if table.stopped {
            return false;
        }
        table.noticed.push_back(Notice { until: Instant::now() + NOTICE, reminders: 0, to });
        let first = table.noticed.len() == 1;
        drop(table);
        if first {
            handle.wake();
        }
        true
    }

    /// Ends the thread. What parks from now on polls.
    pub(crate) fn stop(&self) {
        self.table.lock().stopped = true;
        if let Some(handle) = self.poll.get() {
            handle.wake();
        }
    }

    fn handle(&self) -> io::Result<&Handle> {
        self.poll.get().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn start(&self) -> io::Result<Handle> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKE)?;
        let table = Arc::clone(&self.table);
        self.threads.spawn("backport-watcher".to_owned(), None, move || watch(poll, &table))?;
        Ok(Handle { registry, waker })
    }
}

impl Handle {
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            report!(Error, "cannot wake the watcher: {error}");
        }
    }
}

impl Table {
    /// Takes whose notice has passed: all of them, once nobody will come back.
    fn overdue(&mut self, now: Instant) -> Vec<Notice> {
        let passed = self.noticed.iter().take_while(|notice| notice.until <= now || self.stopped).count();
        self.noticed.drain(..passed).collect()
    }
}

fn watch(mut poll: Poll, table: &Mutex<Table>) {
    let mut events = Events::with_capacity(256);
    let warnings = Limiter::default();
    loop {
        let now = Instant::now();
        let (overdue, stopped) = {
            let mut table = table.lock();
            (table.overdue(now), table.stopped)
        };
        let still_there = |notice: &Notice| match notice.to.upgrade() {
            Some(link) => !link.overdue(notice.reminders),
            None => false,
        };
        let remind =
            |notice: Notice| Notice { until: now + NOTICE, reminders: notice.reminders + 1, ..notice };
        let again: Vec<Notice> = overdue.into_iter().filter(still_there).map(remind).collect();
        if stopped {
            return;
        }
        let next = {
            let mut table = table.lock();
            table.noticed.extend(again);
            table.noticed.front().map(|notice| notice.until)
        };
        // Rounded up: the poll counts in milliseconds.
        let timeout = next.map(|next| next.saturating_duration_since(now) + Duration::from_millis(1));
        if let Err(error) = poll.poll(&mut events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                wait_blindly(&error, &warnings, table);
            }
        }
        for event in &events {
            let parking = table.lock().parked.get(&event.token().0).and_then(Weak::upgrade);
            if let Some(parking) = parking {
                // An error or a hang-up ends both kinds of wait: the system call will say which.
                let over = event.is_error();
                parking.ready(
                    over || event.is_readable() || event.is_read_closed(),
                    over || event.is_writable() || event.is_write_closed(),
                );
            }
        }
    }
}

/// The system doesn't say who is ready: all may be, after a while.
#[cold]
fn wait_blindly(error: &io::Error, warnings: &Limiter, table: &Mutex<Table>) {
    if warnings.admit(Instant::now()).is_some() {
        report!(Warn, "the watcher cannot wait, slow clients are polled until it can: {error}");
    }
    std::thread::sleep(PATIENCE);
    let parked: Vec<_> = table.lock().parked.values().filter_map(Weak::upgrade).collect();
    parked.iter().for_each(|parking| parking.ready(true, true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_parked_leaves_nothing_behind() {
        let threads = Threads::new();
        threads.close(|| ());
        let watcher = Arc::new(Watcher::new(threads));
        let parking = Parking::new(Arc::clone(&watcher));
        parking.wait_writable(&io::stdin(), Instant::now());
        assert_eq!(watcher.table.lock().parked.len(), 1);
        drop(parking);
        assert!(watcher.table.lock().parked.is_empty());
    }
}
