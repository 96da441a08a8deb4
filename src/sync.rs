//! The locks, channels, atomics and threads of the coordination core: a seam for its interleaving tests.
//!
//! Normally these are the types of the crates themselves, and cost nothing. Under `--cfg shuttle`, the tests
//! of `src/shuttle` replace them by types whose every step a scheduler decides.

#[cfg(not(all(test, shuttle)))]
pub(crate) use {
    crossbeam_channel as channel,
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::{sync::atomic, thread, thread_local},
};

#[cfg(all(test, shuttle))]
pub(crate) use {
    crate::shuttle::{
        channel,
        sync::{Condvar, Mutex, MutexGuard},
    },
    shuttle::{sync::atomic, thread, thread_local},
};
