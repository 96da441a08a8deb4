//! How another thread ends the waits of a transport: the handshake between the reader, the writers that
//! wait for room, and the thread that interrupts them.
//!
//! Each side sets its own mark before it reads the mark of the other side, and all agree on one order
//! (`SeqCst`). Therefore at least one of the two sees the mark of the other.

use std::sync::{Arc, OnceLock};

use crate::reactor::{Reactor, Readiness};
use crate::sync::atomic::{fence, AtomicBool, AtomicU8, Ordering};

/// Waits go on.
const NONE: u8 = 0;
/// Every wait ends, except the one for the peer at the end of a connection.
const INTERRUPTED: u8 = 1;
/// Every wait ends.
const ABORTED: u8 = 2;

/// Belongs to one transport.
#[derive(Default)]
pub(crate) struct Interrupt {
    /// The reader may wait. Written by the reader, read by the thread that interrupts.
    reading: AtomicBool,
    /// One of the levels above. It only rises. Written by the thread that interrupts or aborts, read by
    /// the reader and by writers.
    level: AtomicU8,
    /// The place where writers wait for room. Most transports never need it. Made by the first writer that waits.
    readiness: OnceLock<Arc<Readiness>>,
}

impl Interrupt {
    /// Calls `read`, which may wait. Returns `None` after an interrupt.
    pub(crate) fn unless_interrupted<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        self.reading.store(true, Ordering::SeqCst);
        let result = (self.level.load(Ordering::SeqCst) == NONE).then(read);
        self.reading.store(false, Ordering::Release);
        result
    }

    /// Returns whether the reader may wait.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.load(Ordering::SeqCst)
    }

    /// Ends every wait for room, now and later, and keeps later reads from waiting. Returns `true` if
    /// the reader may wait already: then the caller has to end that wait.
    pub(crate) fn set(&self) -> bool {
        self.raise(INTERRUPTED);
        self.is_reading()
    }

    /// Ends every wait at the [`Readiness`] for good. The caller has to end the wait of the reader.
    pub(crate) fn set_aborted(&self) {
        self.raise(ABORTED);
    }

    /// Returns the place to wait for room, and makes it if there is none yet.
    ///
    /// A new one gets the level that was set before. The fences here and in `raise` are a pair: either
    /// this sees the level, or `raise` sees the new [`Readiness`].
    pub(crate) fn readiness(&self, reactor: &Arc<Reactor>) -> &Arc<Readiness> {
        let readiness = self.readiness.get_or_init(|| Readiness::new(Arc::clone(reactor)));
        fence(Ordering::SeqCst);
        pass_on(readiness, self.level.load(Ordering::SeqCst));
        readiness
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
