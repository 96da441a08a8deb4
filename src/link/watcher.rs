//! The machine's watcher: one thread that waits for the readiness of every parked descriptor, so
//! that thousands of idle clients need neither descriptors of their own to be woken by nor a
//! time-out.
//!
//! It starts with the first descriptor that parks, and ends when the machine tells it to. It runs
//! no user code and never blocks outside of its wait. Where a descriptor can't be watched (the
//! kernel has no memory for it), `watch` says so and the waiting thread polls at
//! [`PATIENCE`](super::PATIENCE) instead.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;

use super::parking::Parking;
use crate::report::report;
use crate::threads::Threads;

const WAKE: Token = Token(usize::MAX);

/// One a machine.
pub(crate) struct Watcher {
    threads: Arc<Threads>,
    /// Set by the first that parks; `None` where the system has no poll for us.
    poll: OnceLock<Option<Handle>>,
    table: Arc<Mutex<Table>>,
}

struct Handle {
    registry: Registry,
    waker: Waker,
}

/// Written by those who park for the first time and those who end, read by the watcher's thread.
#[derive(Default)]
struct Table {
    next: usize,
    parked: HashMap<usize, Weak<Parking>>,
    stopped: bool,
}

impl Watcher {
    pub(crate) fn new(threads: Arc<Threads>) -> Watcher {
        Watcher { threads, poll: OnceLock::new(), table: Arc::default() }
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

    /// Ends the thread. What parks from now on polls.
    pub(crate) fn stop(&self) {
        self.table.lock().stopped = true;
        if let Some(Some(handle)) = self.poll.get() {
            if let Err(error) = handle.waker.wake() {
                report!(Error, "cannot wake the watcher: {error}");
            }
        }
    }

    fn handle(&self) -> io::Result<&Handle> {
        let start = || match self.start() {
            Ok(handle) => Some(handle),
            Err(error) => {
                report!(Warn, "no watcher, idle clients poll instead: {error}");
                None
            }
        };
        self.poll.get_or_init(start).as_ref().ok_or_else(|| io::ErrorKind::Unsupported.into())
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

fn watch(mut poll: Poll, table: &Mutex<Table>) {
    let mut events = Events::with_capacity(256);
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() != io::ErrorKind::Interrupted {
                return report!(Error, "the watcher ended: {error}");
            }
        }
        for event in &events {
            if event.token() == WAKE {
                if table.lock().stopped {
                    return;
                }
                continue;
            }
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
