//! The replacement of the poll of a crew. It is edge-triggered, like epoll(7) with `EPOLLET`.
//!
//! A [`Descriptor`] is the readable end of something that a test has made. The test says with [`Descriptor::ready`]
//! when more has arrived. That makes an event if the descriptor is registered, and so does a registration if something is
//! there already. As in the kernel, an event is dropped if nothing is there any more when the poll would report it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::sync::{Condvar, Mutex};
use super::{pick, Time, TIME};

/// What a descriptor belongs to.
pub(super) trait Readable: Send + Sync {
    /// Returns `None` if a read would wait, and otherwise whether the peer has ended its output.
    fn readiness(&self) -> Option<bool>;
}

std::thread_local! {
    /// The descriptors of the current round. All threads of a round run on the thread of its test. The scheduler does not
    /// control the access, because no thread can see a state in the middle of a change.
    static TABLE: RefCell<BTreeMap<RawFd, Entry>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<RawFd> = const { Cell::new(0) };
}

struct Entry {
    source: Weak<dyn Readable>,
    registered: Option<(Arc<Queue>, usize)>,
    refuses: bool,
}

/// A number, as of an open file.
pub(super) struct Descriptor(RawFd);

impl Descriptor {
    pub(super) fn new(source: Weak<dyn Readable>) -> Descriptor {
        let number = NEXT.get();
        NEXT.set(number + 1);
        let entry = Entry { source, registered: None, refuses: false };
        TABLE.with_borrow_mut(|table| table.insert(number, entry));
        Descriptor(number)
    }

    pub(super) fn number(&self) -> RawFd {
        self.0
    }

    /// From now on, the descriptor cannot be registered.
    pub(super) fn refuse(&self) {
        TABLE.with_borrow_mut(|table| {
            if let Some(entry) = table.get_mut(&self.0) {
                entry.refuses = true;
            }
        });
    }

    /// Deregisters the descriptor, as close(2) does.
    pub(super) fn close(&self) {
        let registered = TABLE.with_borrow_mut(|table| table.get_mut(&self.0)?.registered.take());
        drop(registered);
    }

    /// Something has arrived.
    pub(super) fn ready(&self) {
        let registered = TABLE.with_borrow(|table| table.get(&self.0)?.registered.clone());
        if let Some((queue, _)) = registered {
            queue.add(self.0);
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let entry = TABLE.with_borrow_mut(|table| table.remove(&self.0));
        drop(entry);
    }
}

/// The events of one poll.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<RawFd>,
    woken: bool,
    broken: bool,
}

impl Queue {
    fn add(&self, descriptor: RawFd) {
        let mut state = self.state.lock();
        if !state.events.contains(&descriptor) {
            state.events.push_back(descriptor);
        }
        drop(state);
        self.changed.notify_all();
    }
}

pub(crate) struct Poller {
    queue: Arc<Queue>,
    /// What the last wait has found.
    ready: Vec<(usize, bool)>,
}

pub(crate) struct Watcher(Arc<Queue>);

pub(crate) fn new() -> io::Result<(Poller, Watcher)> {
    let queue = Arc::new(Queue::default());
    Ok((Poller { queue: Arc::clone(&queue), ready: Vec::new() }, Watcher(queue)))
}

impl Poller {
    /// If time passes, the limit passes in one of four cases. Otherwise it never passes, unless it is zero. There is no
    /// clock, so nothing is due afterwards that was not due before.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        let passes = match limit {
            None => false,
            Some(limit) => limit.is_zero() || TIME.get() != Time::Stands && pick(4) == 0,
        };
        loop {
            let (events, woken) = {
                let mut state = self.queue.state.lock();
                while state.events.is_empty() && !state.woken && !state.broken && !passes {
                    self.queue.changed.wait(&mut state);
                }
                if state.broken {
                    return Err(io::Error::other("the poll is broken"));
                }
                (std::mem::take(&mut state.events), std::mem::take(&mut state.woken))
            };
            for descriptor in events {
                let found = TABLE.with_borrow(|table| {
                    let entry = table.get(&descriptor)?;
                    Some((entry.source.clone(), entry.registered.as_ref()?.1))
                });
                let Some((source, token)) = found else { continue };
                if let Some(ended) = source.upgrade().and_then(|source| source.readiness()) {
                    self.ready.push((token, ended));
                }
            }
            if !self.ready.is_empty() || woken || passes {
                return Ok(());
            }
        }
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = (usize, bool)> + '_ {
        self.ready.iter().copied()
    }
}

impl Watcher {
    pub(crate) fn register(&self, descriptor: RawFd, token: usize) -> io::Result<()> {
        let source = TABLE.with_borrow_mut(|table| {
            let entry = table.get_mut(&descriptor).ok_or(io::ErrorKind::NotFound)?;
            if entry.refuses || entry.registered.is_some() {
                return Err(io::ErrorKind::AlreadyExists);
            }
            entry.registered = Some((Arc::clone(&self.0), token));
            Ok(entry.source.clone())
        })?;
        if source.upgrade().is_some_and(|source| source.readiness().is_some()) {
            self.0.add(descriptor);
        }
        Ok(())
    }

    pub(crate) fn deregister(&self, descriptor: RawFd) -> io::Result<()> {
        self.0.state.lock().events.retain(|event| *event != descriptor);
        let registered = TABLE.with_borrow_mut(|table| table.get_mut(&descriptor)?.registered.take());
        registered.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn wake(&self) -> io::Result<()> {
        self.0.state.lock().woken = true;
        self.0.changed.notify_all();
        Ok(())
    }
}

/// From now on, each wait fails of the polls at which descriptors are registered.
pub(super) fn break_polls() {
    let queues: Vec<_> = TABLE.with_borrow(|table| {
        table.values().filter_map(|entry| Some(Arc::clone(&entry.registered.as_ref()?.0))).collect()
    });
    for queue in queues {
        queue.state.lock().broken = true;
        queue.changed.notify_all();
    }
}
