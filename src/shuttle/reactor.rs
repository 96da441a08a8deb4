//! The replacement of the reactor. It stores which directions of a descriptor are watched, and a test decides
//! when the descriptor is ready.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mio::Interest;

use crate::reactor::Source;
use crate::threads::MachineThreads;

/// The scheduler does not control its lock, because no thread can see a state in the middle of a change.
#[derive(Default)]
pub(crate) struct Reactor {
    watched: Mutex<Option<Watched>>,
}

#[derive(Clone)]
struct Watched {
    source: Weak<dyn Source>,
    interest: Option<Interest>,
    /// `true` if the readiness was not reported since the registration or since the last change.
    due: bool,
}

impl Reactor {
    pub(crate) fn new(_: Arc<MachineThreads>) -> Reactor {
        Reactor::default()
    }

    /// Does nothing, because this reactor runs from the start.
    pub(crate) fn prepare(&self) {}

    pub(crate) fn add(&self, source: Weak<dyn Source>) -> usize {
        *self.lock() = Some(Watched { source, interest: None, due: false });
        0
    }

    pub(crate) fn remove(&self, _: usize) {
        *self.lock() = None;
    }

    pub(crate) fn register(&self, _: RawFd, _: usize, interest: Interest, _: bool) -> io::Result<()> {
        if let Some(watched) = &mut *self.lock() {
            (watched.interest, watched.due) = (Some(interest), true);
        }
        Ok(())
    }

    pub(crate) fn deregister(&self, _: RawFd) -> io::Result<()> {
        if let Some(watched) = &mut *self.lock() {
            (watched.interest, watched.due) = (None, false);
        }
        Ok(())
    }

    /// Returns `false`, because there is no clock.
    pub(crate) fn start_timer(&self, _: Weak<dyn Source>, _: Duration) -> bool {
        false
    }

    pub(crate) fn stop(&self) {}

    /// Reports once that the descriptor is ready in all watched directions, like an edge-triggered poll.
    pub(crate) fn report(&self) {
        let reported = {
            let mut watched = self.lock();
            let Some(watched) = watched.as_mut() else { return };
            if !std::mem::take(&mut watched.due) {
                return;
            }
            watched.clone()
        };
        if let (Some(source), Some(interest)) = (reported.source.upgrade(), reported.interest) {
            source.ready(interest.is_readable(), interest.is_writable());
        }
    }

    /// Makes the descriptor ready again.
    pub(crate) fn change(&self) {
        if let Some(watched) = &mut *self.lock() {
            watched.due = watched.interest.is_some();
        }
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.lock().as_ref().is_some_and(|watched| watched.interest.is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
