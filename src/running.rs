//! A machine that runs on a thread of its own.

use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::report::{self, report, Escaped};

/// What the log gets to catch up with the error of a machine that was dropped.
const LAST_WORDS: Duration = Duration::from_millis(25);

/// A machine that runs on a thread of its own, from [`Machine::start`].
///
/// Dropping it stops the machine and waits for it (at most the drain timeout and half a second); an
/// error is logged then. Not from a callback of the same machine, which would wait for itself.
#[derive(Debug)]
#[must_use = "dropping it stops the machine"]
pub struct Running {
    machine: Machine,
    thread: Option<JoinHandle<Result>>,
}

impl Running {
    pub(crate) fn start(
        machine: Machine,
        run: impl FnOnce() -> Result + Send + 'static,
    ) -> Result<Running, Error> {
        let name = "backport-machine".to_owned();
        match Builder::new().name(name.clone()).spawn(run) {
            Ok(thread) => Ok(Running { machine, thread: Some(thread) }),
            Err(source) => Err(Error::Thread { name, source }),
        }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Waits until the machine has stopped, by itself or because someone tells it to. Blocks.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn join(mut self) -> Result {
        self.wait()
    }

    /// Stops the machine gracefully and waits for it.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn stop(mut self) -> Result {
        self.stop_and_wait()
    }

    fn stop_and_wait(&mut self) -> Result {
        self.machine.stop_once();
        self.wait()
    }

    fn wait(&mut self) -> Result {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            if let Err(error) = self.stop_and_wait() {
                report!(Error, "the machine did not end cleanly: {}", Escaped(error));
                report::flush(LAST_WORDS);
            }
        }
    }
}
