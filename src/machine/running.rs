//! [`Running`]: a machine that runs on its own thread.

use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::logging::{self, error, Escaped};
use crate::machine::run::Run;
use crate::machine::Machine;

/// How long `drop` waits until the error of the machine is logged.
const LOG_FLUSH: Duration = Duration::from_millis(25);

/// A machine that runs on its own thread. [`Machine::start`] returns it.
///
/// When it is dropped, it stops the machine and waits until the machine has stopped, for at most the drain
/// timeout and half a second. An error is only logged. Do not drop it in a callback of the same machine,
/// because that callback would wait for itself.
#[derive(Debug)]
#[must_use = "dropping it stops the machine"]
pub struct Running {
    machine: Machine,
    thread: Option<JoinHandle<Result>>,
}

impl Machine {
    /// Runs the machine on its own thread, and returns at once. Dropping the returned value stops the machine
    /// and waits until it has stopped.
    ///
    /// # Errors
    /// Returns one of these [`Error`]s in a box:
    ///
    /// - `AlreadyRunning` or `AlreadyRan` if this is not the first run.
    /// - `Thread` if the thread could not be started.
    pub fn start(&self) -> Result<Running> {
        let run = Run::claim(&self.shared)?;
        let name = "backport-machine".to_owned();
        match Builder::new().name(name.clone()).spawn(move || run.run()) {
            Ok(thread) => Ok(Running { machine: self.clone(), thread: Some(thread) }),
            Err(source) => {
                self.shared.give_up();
                Err(Error::Thread { name, source }.into())
            }
        }
    }
}

impl Running {
    /// Returns the machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Blocks until the machine has stopped, by itself or because it was asked to.
    ///
    /// # Errors
    /// The same as for [`Machine::run`].
    pub fn join(mut self) -> Result {
        self.wait()
    }

    /// Stops the machine gracefully. Blocks until it has stopped.
    ///
    /// # Errors
    /// The same as for [`Machine::run`].
    pub fn stop(mut self) -> Result {
        self.stop_and_wait()
    }

    fn stop_and_wait(&mut self) -> Result {
        self.machine.stop();
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
                error!("the machine did not end cleanly: {}", Escaped(error));
                logging::flush(LOG_FLUSH);
            }
        }
    }
}
