//! [`Backport::run`]: one machine, its setup, and the signals that stop it.

use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::logging::{self, debug, Escaped};
use crate::machine::Machine;
use crate::signal;

/// Runs one machine and handles signals, for a program that is only a server.
///
/// A server inside another program uses a [`Machine`] directly, and so do tests.
#[derive(Debug)]
pub struct Backport;

/// The time that the log gets after a setup that failed.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The machine that `Backport::run` runs. Written by `run`, read by `stop`.
static CURRENT: Mutex<Option<Machine>> = Mutex::new(None);

impl Backport {
    /// Prepares a machine with `setup`, then runs it on this thread until it has stopped. [`Machine`] says
    /// how it stops.
    ///
    /// The first SIGINT or SIGTERM stops the machine gracefully. On Linux a SIGHUP does it too, on Windows
    /// Ctrl-C or Ctrl-Break. A second signal ends the process at once, with status 128 + the number of the
    /// signal, 130 for SIGINT. A signal within a tenth of a second after the last one does not count as
    /// the second. A SIGHUP that is ignored when this is called stays ignored, for example under `nohup`.
    ///
    /// After this has returned, a signal ends the process again. A signal within a tenth of a second after
    /// the last one does it only after that time, so that the program can exit with a status of its own.
    ///
    /// Signals also count during `setup`. A machine that was stopped accepts no more servers, so `setup` often
    /// fails then. In this case its error goes to the log at level debug, and this returns `Ok`.
    ///
    /// # Errors
    /// - The error of `setup`, unchanged. Nothing is bound or running any more.
    /// - [`Error::HandlerTaken`](crate::Error::HandlerTaken) if the program already handles one of the
    ///   signals. For SIGTERM, only Linux can tell. On other systems the program's handler is also called, and
    ///   the machine stops.
    /// - [`Error::Signals`](crate::Error::Signals) if the handlers cannot be installed.
    /// - [`Error::AlreadyRunning`](crate::Error::AlreadyRunning) if another thread is inside this function.
    /// - The errors of [`Machine::run`].
    pub fn run(setup: impl FnOnce(&Machine) -> Result) -> Result {
        let machine = Machine::new();
        let signalled = machine.clone();
        let watching = signal::watch(move || signalled.stop())?;
        let current = Current::set(&machine);
        let prepared = setup(&machine);
        let never_ran = prepared.is_err();
        let result = match prepared {
            Ok(()) => machine.run(),
            // It has nearly always failed because the machine accepts no more servers.
            Err(error) if watching.is_signalled() => {
                debug!("the setup failed after the signal: {}", Escaped(error));
                Ok(())
            }
            failed => failed,
        };
        drop(current);
        drop(watching);
        // A machine that never ran must be stopped here, because its servers may hold clones of it.
        if result.is_err() {
            machine.stop();
        }
        if never_ran {
            logging::flush(LAST_WORDS);
        }
        result
    }

    /// Stops the machine that [`Backport::run`] is running, if any, like [`Machine::stop`]. Returns at once.
    pub fn stop() {
        let current = CURRENT.lock().clone();
        if let Some(machine) = current {
            machine.stop();
        }
    }
}

/// A guard: a machine is the current one until it drops.
struct Current;

impl Current {
    fn set(machine: &Machine) -> Current {
        *CURRENT.lock() = Some(machine.clone());
        Current
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let machine = CURRENT.lock().take();
        drop(machine);
    }
}
