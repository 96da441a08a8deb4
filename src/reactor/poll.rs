//! The reactor of a machine. Its thread waits until there is room to write to clients that read slowly. It also
//! runs timers: they end the grace of interrupted readers, and notice peers that take nothing of a backlog.
//!
//! The thread starts with the first server that will need it, while descriptors are still available. It ends
//! when the machine stops. It never blocks, except in its wait. The only user code that it runs is a function of
//! `Client::on_close`, if it notices that a connection is lost.
//!
//! A descriptor cannot be watched if the kernel has no memory for it, or if the reactor could not be started.
//! Then `register` fails, and the waiting thread checks the socket itself after every [`WAIT_SLICE`]. The
//! start of the reactor is tried again later. If the wait of the reactor fails, the reactor wakes every
//! waiting thread after every `WAIT_SLICE`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;

use crate::logging::{error, warn, Limiter};
use crate::reactor::{Source, WAIT_SLICE};
use crate::threads::MachineThreads;

const WAKE: Token = Token(usize::MAX);
/// The pause between a failed start and the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// A time that is longer than any start takes.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The number of timers after which the timers of dropped sources are looked for.
const FIRST_SWEEP: usize = 64;

/// The timer of one source.
struct Timer {
    /// How often it was extended.
    extensions: u32,
    of: Weak<dyn Source>,
}

/// Belongs to one machine.
pub(crate) struct Reactor {
    threads: Arc<MachineThreads>,
    /// The running reactor. Set by the thread that has started it.
    poll: OnceLock<Handle>,
    /// When the next start may be tried. Written by the thread that tries to start the reactor.
    next_start: Mutex<Option<Instant>>,
    warnings: Limiter,
    table: Arc<Mutex<Table>>,
}

struct Handle {
    registry: Registry,
    waker: Waker,
}

/// Written by threads that wait for the first time, drop a source, start a timer or stop the reactor. Read by
/// the reactor's thread.
#[derive(Default)]
struct Table {
    next: usize,
    sources: HashMap<usize, Weak<dyn Source>>,
    /// The timers, in the order in which they fire. Timers that fire at the same time are ordered by number.
    timers: BTreeMap<(Instant, u64), Timer>,
    next_timer: u64,
    /// When there are so many timers, those of dropped sources are removed. It is twice the number of timers
    /// that were left the last time, so the work is in proportion to the timers that start.
    sweep_at: usize,
}

impl Reactor {
    pub(crate) fn new(threads: Arc<MachineThreads>) -> Reactor {
        Reactor {
            threads,
            poll: OnceLock::new(),
            next_start: Mutex::default(),
            warnings: Limiter::default(),
            table: Arc::default(),
        }
    }

    /// Starts the thread if it is not running. A server calls this before its clients can use up all
    /// descriptors. A waiting thread calls it again, in case the first start has failed. Must not be called
    /// with a lock held, because a failure is logged.
    pub(crate) fn prepare(&self) {
        if self.poll.get().is_some() {
            return;
        }
        let now = Instant::now();
        {
            // Until this start has finished, other callers continue without a reactor.
            let mut next = self.next_start.lock();
            if next.is_some_and(|next| now < next) {
                return;
            }
            *next = Some(now + FOR_EVER);
        }
        match self.start() {
            Ok(handle) => {
                let handle = self.poll.get_or_init(|| handle);
                // A stop that came during the start has found no thread to wake.
                if self.threads.is_closed() {
                    handle.wake();
                }
            }
            Err(error) => {
                *self.next_start.lock() = Some(now + RETRY);
                if !self.threads.is_closed() && self.warnings.allow(now).is_some() {
                    warn!("cannot start the reactor; until it runs, slow clients are polled: {error}");
                }
            }
        }
    }

    /// Adds a source to the table and returns its token. [`Reactor::remove`] takes it out again.
    pub(crate) fn add(&self, source: Weak<dyn Source>) -> usize {
        let mut table = self.table.lock();
        let token = table.next;
        table.next += 1;
        table.sources.insert(token, source);
        token
    }

    pub(crate) fn remove(&self, token: usize) {
        self.table.lock().sources.remove(&token);
    }

    /// Watches a descriptor. If it is already ready, that is reported too, even if the descriptor was
    /// `registered` before.
    pub(crate) fn register(
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

    pub(crate) fn deregister(&self, descriptor: RawFd) -> io::Result<()> {
        self.handle()?.registry.deregister(&mut SourceFd(&descriptor))
    }

    /// Calls [`Source::timer`] after this time. Returns `false` if no thread can do that.
    pub(crate) fn start_timer(&self, of: Weak<dyn Source>, after: Duration) -> bool {
        self.prepare();
        let Ok(handle) = self.handle() else { return false };
        let mut table = self.table.lock();
        if self.threads.is_closed() {
            return false;
        }
        let first = table.add_timer(Instant::now() + after, Timer { extensions: 0, of });
        drop(table);
        if first {
            handle.wake();
        }
        true
    }

    /// Ends the thread. Called after the machine's threads are closed. Later waits continue without the
    /// reactor.
    pub(crate) fn stop(&self) {
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
        let (table, threads) = (Arc::clone(&self.table), Arc::clone(&self.threads));
        self.threads
            .spawn("backport-reactor".to_owned(), None, false, move || watch(poll, &table, &threads))?;
        Ok(Handle { registry, waker })
    }
}

impl Handle {
    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            error!("cannot wake the reactor: {error}");
        }
    }
}

impl Table {
    /// Returns `true` if this timer is the first to fire.
    fn add_timer(&mut self, at: Instant, timer: Timer) -> bool {
        if self.timers.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.timers.retain(|_, timer| timer.of.strong_count() > 0);
            self.sweep_at = 2 * self.timers.len();
        }
        self.next_timer += 1;
        self.timers.insert((at, self.next_timer), timer);
        self.timers.first_key_value().is_some_and(|((_, number), _)| *number == self.next_timer)
    }

    /// Takes the timers that have fired. After the stop, takes all timers.
    fn take_fired(&mut self, now: Instant, stopped: bool) -> Vec<Timer> {
        let later = if stopped { BTreeMap::new() } else { self.timers.split_off(&(now, u64::MAX)) };
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }
}

fn watch(mut poll: Poll, table: &Mutex<Table>, threads: &MachineThreads) {
    let mut events = Events::with_capacity(256);
    let warnings = Limiter::default();
    loop {
        let now = Instant::now();
        let (fired, stopped) = {
            let mut table = table.lock();
            // Checked under the lock. A timer that is added later finds the threads closed.
            let stopped = threads.is_closed();
            (table.take_fired(now, stopped), stopped)
        };
        for Timer { extensions, of } in fired {
            let Some(after) = of.upgrade().and_then(|source| source.timer(extensions)) else { continue };
            table.lock().add_timer(now + after, Timer { extensions: extensions + 1, of });
        }
        if stopped {
            return;
        }
        let next = table.lock().timers.first_key_value().map(|((at, _), _)| *at);
        // Rounded up, because the poll counts in milliseconds.
        let timeout = next.map(|next| next.saturating_duration_since(now) + Duration::from_millis(1));
        if let Err(error) = poll.poll(&mut events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                wake_all_later(&error, &warnings, table);
            }
        }
        for event in &events {
            let source = table.lock().sources.get(&event.token().0).and_then(Weak::upgrade);
            if let Some(source) = source {
                // An error or a hang-up ends the waits in both directions. The next system call reports the error.
                let failed = event.is_error();
                source.ready(
                    failed || event.is_readable() || event.is_read_closed(),
                    failed || event.is_writable() || event.is_write_closed(),
                );
                if failed {
                    source.failed();
                }
            }
        }
    }
}

/// Wakes every waiting thread after a while, because the system does not report which descriptors are ready.
#[cold]
fn wake_all_later(error: &io::Error, warnings: &Limiter, table: &Mutex<Table>) {
    if warnings.allow(Instant::now()).is_some() {
        warn!("the reactor cannot wait for sockets; until it can, slow clients are polled: {error}");
    }
    std::thread::sleep(WAIT_SLICE);
    let sources: Vec<_> = table.lock().sources.values().filter_map(Weak::upgrade).collect();
    sources.iter().for_each(|source| source.ready(true, true));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Readiness;

    #[test]
    fn timers_of_dropped_sources_do_not_pile_up() {
        struct Idle;
        impl Source for Idle {}
        let mut table = Table::default();
        let (kept, at) = (Arc::new(Idle), Instant::now());
        let timer = |of: &Arc<Idle>| {
            let of: Weak<Idle> = Arc::downgrade(of);
            Timer { extensions: 0, of }
        };
        assert!(table.add_timer(at, timer(&kept)));
        for _ in 0..10_000 {
            assert!(!table.add_timer(at, timer(&Arc::new(Idle))));
        }
        assert!(table.timers.len() <= FIRST_SWEEP, "{}", table.timers.len());
        assert!(table.timers.values().any(|timer| timer.of.strong_count() > 0), "the others stay");
    }

    #[test]
    fn a_dropped_source_leaves_nothing_in_the_table() {
        let threads = MachineThreads::new();
        threads.close(|| ());
        let reactor = Arc::new(Reactor::new(threads));
        let readiness = Readiness::new(Arc::clone(&reactor));
        readiness.wait_writable(&io::stdin(), Instant::now());
        assert_eq!(reactor.table.lock().sources.len(), 1);
        drop(readiness);
        assert!(reactor.table.lock().sources.is_empty());
    }
}
