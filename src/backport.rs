//! [`Backport::run`]: runs one machine with its setup, and stops it at a signal.

use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Result;
use crate::logging::{self, debug, Escaped};
use crate::machine::Machine;
use crate::open_files;
use crate::signal;

/// Runs one machine and handles signals. It is for a program that is only a server.
///
/// For a server inside another program and for tests, use a [`Machine`] directly.
#[derive(Debug)]
pub struct Backport;

/// How long to wait for the log after `setup` has failed.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The machine that `Backport::run` runs. Written by `run`, read by `stop`.
static CURRENT: Mutex<Option<Machine>> = Mutex::new(None);

impl Backport {
    /// Prepares a machine with `setup`, then runs it on this thread until it has stopped. The documentation
    /// of [`Machine`] describes how a machine stops.
    ///
    /// # Signals
    ///
    /// The first SIGINT or SIGTERM stops the machine gracefully. On Linux SIGHUP also stops it. On Windows,
    /// Ctrl-C and Ctrl-Break stop it. A second signal ends the process at once, with the status 128 plus the
    /// number of the signal, which is 130 for SIGINT. Signals that come within a tenth of a second of each
    /// other count as one.
    ///
    /// If SIGINT or SIGHUP is ignored when this is called, the signal stays ignored. A shell without job control
    /// starts `program &` with an ignored SIGINT, and `nohup` ignores SIGHUP. Programs in Go follow the same
    /// rule. SIGTERM is handled even if it is ignored, because service managers and containers stop a program
    /// with it. Only on Linux can a program see that a signal is ignored. On other systems an ignored SIGINT
    /// looks like a handler of the program, and SIGHUP is never handled.
    ///
    /// After this has returned, a signal ends the process as usual. There is one exception: a signal that
    /// comes within a tenth of a second of the last one takes effect only after that time. Until then, the
    /// program can exit with its own status.
    ///
    /// A signal during `setup` also stops the machine. A stopped machine accepts no more servers, so `setup`
    /// often fails then. In that case the error is logged at level debug, and this returns `Ok`.
    ///
    /// # Daemons
    ///
    /// If `setup` forks the process, the child is stopped by signals too. Signals that come between the fork
    /// and the end of `setup` are not lost. The parent must end without returning from `setup`. It is best to
    /// fork at the beginning of `setup` or before this function, because a forked process has only the thread
    /// that has called `fork`. A lock that another thread holds at that moment is held forever in the child.
    ///
    /// # Open files
    ///
    /// After `setup`, this raises the soft limit of open files (`RLIMIT_NOFILE`) of the process to the sum of
    /// `max_clients` of all servers plus 64, unless the limit is higher. A stdio server counts as one. If the
    /// hard limit is lower, this raises the soft limit as far as possible and logs a warning with both numbers.
    /// Child processes inherit the limit. [`Machine::run`] does not change it.
    ///
    /// # Errors
    /// - The error of `setup`, unchanged. Everything that `setup` has prepared is dropped.
    /// - [`Error::HandlerTaken`](crate::Error::HandlerTaken) if the program already handles one of the
    ///   signals. A handler of SIGTERM is detected only on Linux. On other systems, a SIGTERM then calls the
    ///   program's handler and also stops the machine.
    /// - [`Error::Signals`](crate::Error::Signals) if the handlers cannot be installed, or if a forked process
    ///   cannot start its thread for signals.
    /// - [`Error::AlreadyRunning`](crate::Error::AlreadyRunning) if another thread is already in this
    ///   function.
    /// - The errors of [`Machine::run`].
    pub fn run(setup: impl FnOnce(&Machine) -> Result) -> Result {
        let machine = Machine::new();
        let signalled = machine.clone();
        let watching = signal::watch(move || signalled.stop())?;
        let current = Current::set(&machine);
        let prepared = setup(&machine);
        let followed = watching.follow_fork();
        let prepared = prepared.and_then(|()| Ok(followed?));
        let never_ran = prepared.is_err();
        let result = match prepared {
            Ok(()) => {
                open_files::raise(machine.max_clients());
                machine.run()
            }
            // The setup has nearly always failed because the machine accepts no more servers.
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

    /// Stops the machine of [`Backport::run`] in the same way as [`Machine::stop`], if one is running.
    /// Returns at once.
    pub fn stop() {
        let current = CURRENT.lock().clone();
        if let Some(machine) = current {
            machine.stop();
        }
    }
}

/// A guard. Its machine is the current machine until the guard drops.
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
