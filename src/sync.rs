//! What the coordination core waits, signals and starts threads with: a seam for its model.
//!
//! Normally these are the crates' own types and cost nothing. Under `--cfg shuttle` the tests of
//! `src/model` get look-alikes whose every step a scheduler decides on.

#[cfg(not(all(test, shuttle)))]
pub(crate) use {
    crossbeam_channel as channel,
    parking_lot::{Condvar, Mutex, MutexGuard},
    std::{sync::atomic, thread},
};

#[cfg(all(test, shuttle))]
pub(crate) use {
    crate::model::{
        channel,
        sync::{Condvar, Mutex, MutexGuard},
    },
    shuttle::{sync::atomic, thread},
};
