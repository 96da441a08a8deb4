//! What stands in for the watcher in the model: it notes what is wanted of whom, and a model says
//! when a descriptor is ready.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mio::Interest;

use crate::link::parking::Parking;
use crate::threads::Threads;

/// Its lock is none of the model's: nothing happens under it that others could see half done.
#[derive(Default)]
pub(crate) struct Watcher {
    /// Who parks, and for what it is registered.
    parked: Mutex<Option<(Weak<Parking>, Option<Interest>)>>,
}

impl Watcher {
    pub(crate) fn new(_: Arc<Threads>) -> Watcher {
        Watcher::default()
    }

    pub(crate) fn enroll(&self, parking: Weak<Parking>) -> usize {
        *self.lock() = Some((parking, None));
        0
    }

    pub(crate) fn forget(&self, _: usize) {
        *self.lock() = None;
    }

    pub(crate) fn watch(&self, _: RawFd, _: usize, interest: Interest, _: bool) -> io::Result<()> {
        if let Some((_, registered)) = &mut *self.lock() {
            *registered = Some(interest);
        }
        Ok(())
    }

    pub(crate) fn unwatch(&self, _: RawFd) -> io::Result<()> {
        if let Some((_, registered)) = &mut *self.lock() {
            *registered = None;
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {}

    /// Tells whoever is registered for it that the descriptor is ready for both. False if nobody is.
    pub(crate) fn ready(&self) -> bool {
        let parked = self.lock().clone();
        let Some((parking, Some(interest))) = parked else { return false };
        if let Some(parking) = parking.upgrade() {
            parking.ready(interest.is_readable(), interest.is_writable());
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Weak<Parking>, Option<Interest>)>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
