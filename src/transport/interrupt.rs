//! [`Interrupt`]: how other threads end the waits of a transport.

use std::sync::{Arc, OnceLock};

use crate::reactor::{Reactor, Readiness};
use crate::sync::atomic::{fence, AtomicBool, AtomicU8, Ordering};

/// No wait is interrupted.
const NONE: u8 = 0;
/// Every wait ends, except the wait for the peer while a connection is closing.
const INTERRUPTED: u8 = 1;
/// Every wait ends.
const ABORTED: u8 = 2;

/// Coordinates a reader and writers that wait for room with the thread that interrupts them.
///
/// Each side sets its own mark before it reads the mark of the other side. All threads agree on one order of
/// these steps (`SeqCst`). Therefore at least one side sees the mark of the other side.
#[derive(Default)]
pub(crate) struct Interrupt {
    /// `true` if the reader may be waiting. Written by the reader, and read by the thread that interrupts.
    reading: AtomicBool,
    /// One of the levels above, which is never lowered. Written by the thread that interrupts or aborts, and
    /// read by the reader and by writers.
    level: AtomicU8,
    /// The place where writers wait for room. Most transports never need it. The first writer that waits
    /// creates it.
    readiness: OnceLock<Arc<Readiness>>,
}

impl Interrupt {
    /// Calls `read`, which may wait. After an interrupt, does not call it and returns `None`.
    pub(crate) fn unless_interrupted<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        self.reading.store(true, Ordering::SeqCst);
        let result = (self.level.load(Ordering::SeqCst) == NONE).then(read);
        self.reading.store(false, Ordering::Release);
        result
    }

    /// Returns `true` if every wait must end.
    pub(crate) fn is_aborted(&self) -> bool {
        self.level.load(Ordering::SeqCst) == ABORTED
    }

    /// Returns `true` if the reader may be waiting.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.load(Ordering::SeqCst)
    }

    /// Ends every wait for room, now and later, and prevents later reads from waiting. Returns `true` if the
    /// reader may already be waiting. The caller must then end that wait.
    pub(crate) fn set(&self) -> bool {
        self.raise(INTERRUPTED);
        self.is_reading()
    }

    /// Ends every wait at the [`Readiness`], now and later. The caller must end the wait of the reader.
    pub(crate) fn set_aborted(&self) {
        self.raise(ABORTED);
    }

    /// Returns the place to wait for room, and creates it if it does not exist yet.
    ///
    /// A new [`Readiness`] gets the level that was set before. The fences here and in `raise` are a pair.
    /// Either this function sees the level, or `raise` sees the new [`Readiness`].
    pub(crate) fn readiness(&self, reactor: &Arc<Reactor>) -> &Arc<Readiness> {
        let readiness = self.readiness.get_or_init(|| Readiness::new(Arc::clone(reactor)));
        fence(Ordering::SeqCst);
        pass_on(readiness, self.level.load(Ordering::SeqCst));
        readiness
    }

    /// Returns the place to wait for room, if any thread has waited.
    pub(crate) fn existing_readiness(&self) -> Option<&Arc<Readiness>> {
        self.readiness.get()
    }

    fn raise(&self, level: u8) {
        self.level.fetch_max(level, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if let Some(readiness) = self.readiness.get() {
            pass_on(readiness, level);
        }
    }
}

fn pass_on(readiness: &Readiness, level: u8) {
    match level {
        ABORTED => readiness.abort(),
        INTERRUPTED => readiness.interrupt(),
        _ => {}
    }
}
