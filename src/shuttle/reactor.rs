//! What stands in for the reactor in the model: it notes what is wanted of whom, and a model says
//! when a descriptor is ready.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mio::Interest;

use crate::reactor::Readiness;
use crate::threads::Threads;

/// Whom a reactor would come back to.
pub(crate) trait Overdue: Send + Sync {
    fn overdue(&self, reminders: u32) -> bool;
}

/// Its lock is none of the model's: nothing happens under it that others could see half done.
#[derive(Default)]
pub(crate) struct Reactor {
    parked: Mutex<Option<Parked>>,
}

#[derive(Clone)]
struct Parked {
    readiness: Weak<Readiness>,
    interest: Option<Interest>,
    /// What is ready has not been told since it was registered, or since it became so.
    due: bool,
}

impl Reactor {
    pub(crate) fn new(_: Arc<Threads>) -> Reactor {
        Reactor::default()
    }

    /// It is there from the start.
    pub(crate) fn prepare(&self) {}

    pub(crate) fn enroll(&self, readiness: Weak<Readiness>) -> usize {
        *self.lock() = Some(Parked { readiness, interest: None, due: false });
        0
    }

    pub(crate) fn forget(&self, _: usize) {
        *self.lock() = None;
    }

    pub(crate) fn watch(&self, _: RawFd, _: usize, interest: Interest, _: bool) -> io::Result<()> {
        if let Some(parked) = &mut *self.lock() {
            (parked.interest, parked.due) = (Some(interest), true);
        }
        Ok(())
    }

    pub(crate) fn unwatch(&self, _: RawFd) -> io::Result<()> {
        if let Some(parked) = &mut *self.lock() {
            (parked.interest, parked.due) = (None, false);
        }
        Ok(())
    }

    /// There is no clock that could pass.
    pub(crate) fn start_grace(&self, _: Weak<dyn Overdue>) -> bool {
        false
    }

    pub(crate) fn stop(&self) {}

    /// Tells whoever is registered, once, that the descriptor is ready for both: as a poll does that
    /// is edge-triggered.
    pub(crate) fn tell(&self) {
        let told = {
            let mut parked = self.lock();
            let Some(parked) = parked.as_mut() else { return };
            if !std::mem::take(&mut parked.due) {
                return;
            }
            parked.clone()
        };
        if let (Some(readiness), Some(interest)) = (told.readiness.upgrade(), told.interest) {
            readiness.ready(interest.is_readable(), interest.is_writable());
        }
    }

    /// It has become ready.
    pub(crate) fn change(&self) {
        if let Some(parked) = &mut *self.lock() {
            parked.due = parked.interest.is_some();
        }
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.lock().as_ref().is_some_and(|parked| parked.interest.is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
