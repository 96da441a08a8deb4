//! The replacement of `std::thread`. A test can make the start of threads fail.

use std::cell::Cell;
use std::io;
use std::time::Duration;

pub(crate) use shuttle::thread::*;

use super::pick;

std::thread_local! {
    /// One of so many starts fails, or none if this is 0. All threads of a round run on the thread of its test.
    static SCARCE: Cell<usize> = const { Cell::new(0) };
}

/// Makes threads scarce until the end of the round, for all that are started with a [`Builder`].
pub(super) struct Scarcity(());

impl Scarcity {
    /// From now on, one of `starts` starts of a thread fails. With 1, all of them fail.
    pub(super) fn begin(starts: usize) -> Scarcity {
        SCARCE.set(starts);
        Scarcity(())
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        SCARCE.set(0);
    }
}

/// Lets all other threads run before this one.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

pub(crate) struct Builder(shuttle::thread::Builder);

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder(shuttle::thread::Builder::new())
    }

    pub(crate) fn name(self, name: String) -> Builder {
        Builder(self.0.name(name))
    }

    pub(crate) fn stack_size(self, size: usize) -> Builder {
        Builder(self.0.stack_size(size))
    }

    pub(crate) fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match SCARCE.get() {
            0 => self.0.spawn(f),
            starts if pick(starts) > 0 => self.0.spawn(f),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
