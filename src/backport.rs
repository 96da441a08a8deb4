//! The front door: one machine, its setup, and the signals that stop it.

use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::logging::{self, debug, Escaped};
use crate::machine::Machine;
use crate::signal;

/// Runs one machine with signals, for programs that are a server and nothing else.
///
/// For a server inside another program, and for tests, use a [`Machine`] itself.
#[derive(Debug)]
pub struct Backport;

/// What the log gets to catch up after a setup that failed.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The machine that `Backport::run` runs. Written by `run`, read by `stop`.
static CURRENT: Mutex<Option<Machine>> = Mutex::new(None);

impl Backport {
    /// Prepares a machine with `setup`, then runs it on this thread until it has stopped. See
    /// [`Machine`] for how it stops.
    ///
    /// The first SIGINT or SIGTERM (Ctrl-C and Ctrl-Break on Windows; on Linux SIGHUP too) stops it
    /// gracefully. A second one, a tenth of a second or more after the last, ends the process at
    /// once with status 128 + the signal, 130 for SIGINT. A SIGHUP that is ignored when this is
    /// called, as with `nohup`, stays ignored. Once this has returned, signals end the process again,
    /// those of the same tenth of a second at its end: a burst leaves time to exit with a status.
    ///
    /// The signals count during `setup` too. A machine that one has stopped takes no more servers, so
    /// a `setup` that fails after a signal is a stop and no error: its own goes to the log, at debug.
    ///
    /// # Errors
    /// That of `setup`, as it is; then nothing is left bound or running.
    /// [`Error::HandlerTaken`](crate::Error::HandlerTaken) if the program handles one of the signals
    /// already (one of SIGTERM is noticed on Linux alone; elsewhere it is called, and then the machine
    /// stops), [`Error::AlreadyRunning`](crate::Error::AlreadyRunning) if another thread is in this
    /// function, else as [`Machine::run`].
    pub fn run(setup: impl FnOnce(&Machine) -> Result) -> Result {
        let machine = Machine::new();
        let signalled = machine.clone();
        let watching = signal::watch(move || signalled.stop())?;
        let current = Current::set(&machine);
        let prepared = setup(&machine);
        let never_ran = prepared.is_err();
        let result = match prepared {
            Ok(()) => machine.run(),
            // Nearly always because the machine takes nothing any more.
            Err(error) if watching.is_signalled() => {
                debug!("the setup failed after the signal: {}", Escaped(error));
                Ok(())
            }
            failed => failed,
        };
        drop(current);
        drop(watching);
        // If it never ran: what it has prepared may hold clones of it.
        if result.is_err() {
            machine.stop();
        }
        if never_ran {
            logging::flush(LAST_WORDS);
        }
        result
    }

    /// Stops the machine that [`Backport::run`] is running, if any, as [`Machine::stop`]. Returns at
    /// once.
    pub fn stop() {
        let current = CURRENT.lock().clone();
        if let Some(machine) = current {
            machine.stop();
        }
    }
}

/// Marks a machine as the current one while it lives.
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
