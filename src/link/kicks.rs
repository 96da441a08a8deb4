//! How the waits of a link are ended from outside: the handshake between the thread that reads, those
//! that wait for room, and whoever kicks.
//!
//! Each side sets its own mark before it looks at the other's, and all agree on one order (`SeqCst`),
//! so that one of the two sees the other's.

use std::sync::{Arc, OnceLock};

use super::parking::Parking;
use super::watcher::Watcher;
use crate::sync::atomic::{fence, AtomicBool, Ordering};

/// One a link.
#[derive(Default)]
pub(crate) struct Kicks {
    /// Set by the reading thread for as long as it may wait.
    reading: AtomicBool,
    /// Set by whoever kicks, and by whoever aborts; never taken back.
    kicked: AtomicBool,
    aborted: AtomicBool,
    /// Where to wait for room. Most links never need it.
    parking: OnceLock<Arc<Parking>>,
}

impl Kicks {
    /// Calls `read`, which may wait; `None` after a kick.
    pub(crate) fn unless_kicked<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        self.reading.store(true, Ordering::SeqCst);
        let result = (!self.kicked.load(Ordering::SeqCst)).then(read);
        self.reading.store(false, Ordering::Release);
        result
    }

    /// Whether a thread may wait in a read.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.load(Ordering::SeqCst)
    }

    /// Ends every wait for room, now and from now on, and keeps reads from waiting. True if a thread
    /// may wait in one already: then the caller has to end that.
    pub(crate) fn kick(&self) -> bool {
        self.kicked.store(true, Ordering::SeqCst);
        if let Some(parking) = self.parked() {
            parking.kick();
        }
        self.is_reading()
    }

    /// Ends every wait at the parking, for good. Reads are the caller's.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        if let Some(parking) = self.parked() {
            parking.abort();
        }
    }

    /// Where to wait, made now if need be: with what was kicked before it was there. The fences here
    /// and in `parked` are a pair: either this sees the kick, or the kick sees the parking.
    pub(crate) fn parking(&self, watcher: &Arc<Watcher>) -> &Arc<Parking> {
        let parking = self.parking.get_or_init(|| Parking::new(Arc::clone(watcher)));
        fence(Ordering::SeqCst);
        if self.aborted.load(Ordering::SeqCst) {
            parking.abort();
        } else if self.kicked.load(Ordering::SeqCst) {
            parking.kick();
        }
        parking
    }

    fn parked(&self) -> Option<&Arc<Parking>> {
        fence(Ordering::SeqCst);
        self.parking.get()
    }
}
