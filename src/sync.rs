//! The locks, channels, atomics and threads of the coordination core. The interleaving tests replace them
//! here.
//!
//! Normally these are just the types of `std`, `parking_lot` and `crossbeam-channel`. Under `--cfg shuttle`,
//! the tests of `src/shuttle` replace them with types whose every step is decided by a scheduler.

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
        thread,
    },
    shuttle::{sync::atomic, thread_local},
};
