//! SIGINT, SIGTERM and SIGHUP on Unix.
//!
//! SIGINT is caught with `ctrlc`, which reports an error if the program already handles SIGINT. SIGTERM and
//! SIGHUP are caught with `signal-hook`. For them, `ctrlc` is not suitable. It does not say which signal
//! came, and it would also catch a SIGHUP that `nohup` has set to be ignored.

use std::fs;
use std::io;
use std::thread::Builder;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::error::Error;
use crate::signal::{arrived, ctrlc_error};

/// The handlers that are installed. If `install` fails after some of them, the next call continues with the
/// others.
pub(super) struct Installed {
    /// `true` if `ctrlc` has failed. It may already have set the handler, because it starts its thread
    /// afterwards.
    interrupt_failed: bool,
    interrupt: bool,
    termination: bool,
}

impl Installed {
    pub(super) const NOTHING: Installed =
        Installed { interrupt_failed: false, interrupt: false, termination: false };
}

pub(super) fn install(installed: &mut Installed) -> Result<(), Error> {
    let now = Dispositions::read();
    if !installed.termination && now.is_handled(SIGTERM) {
        return Err(Error::HandlerTaken);
    }
    if !installed.interrupt {
        // A shell sets SIGINT to be ignored for a background job. SIGINT is handled nevertheless, because a
        // SIGINT for such a job is sent on purpose. `try_set_handler` would refuse to set a handler in this
        // case.
        let set = if installed.interrupt_failed || now.is_ignored(SIGINT) {
            ctrlc::set_handler(|| arrived(SIGINT))
        } else {
            ctrlc::try_set_handler(|| arrived(SIGINT))
        };
        installed.interrupt_failed = matches!(set, Err(ctrlc::Error::System(_)));
        set.map_err(ctrlc_error)?;
        installed.interrupt = true;
    }
    if !installed.termination {
        let mut signals = vec![SIGTERM];
        // A SIGHUP that `nohup` has set to be ignored stays ignored.
        if now.is_default(SIGHUP) {
            signals.push(SIGHUP);
        }
        // The thread is started first, because a signal that is caught without a thread would be lost. The
        // thread runs until the process ends. If this function fails, the thread ends when the sender is
        // dropped.
        let (sender, caught) = bounded::<Signals>(1);
        let thread = Builder::new().name("backport-signals".to_owned());
        let run = move || caught.iter().for_each(|mut signals| signals.forever().for_each(arrived));
        thread.spawn(run).map_err(Error::Signals)?;
        let signals = Signals::new(signals).map_err(Error::Signals)?;
        sender.send(signals).map_err(|error| Error::Signals(io::Error::other(error)))?;
        installed.termination = true;
    }
    Ok(())
}

pub(super) fn default_effect(signal: i32) {
    /// In a container the program is often process 1. Signals have no default effect on process 1
    /// (`pid_namespaces(7)`), and `emulate_default_handler` would abort.
    const INIT: u32 = 1;
    if std::process::id() == INIT || low_level::emulate_default_handler(signal).is_err() {
        exit(128 + signal);
    }
}

/// Ends the process at once. Handlers of `atexit` do not run, because they might wait for a thread that is
/// stuck.
pub(super) fn exit(status: i32) -> ! {
    low_level::exit(status)
}

/// The signals that the process ignores or catches. Only on Linux can they be read without unsafe code. On
/// other systems they are unknown, and SIGHUP is not handled.
#[derive(Default)]
struct Dispositions {
    known: bool,
    ignored: u64,
    caught: u64,
}

impl Dispositions {
    /// Reads the signal masks in `/proc/self/status`, see proc(5). They are hexadecimal, and the lowest bit
    /// is signal 1.
    fn read() -> Dispositions {
        let Ok(status) = fs::read_to_string("/proc/self/status") else {
            return Dispositions::default();
        };
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        match (mask("SigIgn:"), mask("SigCgt:")) {
            (Some(ignored), Some(caught)) => Dispositions { known: true, ignored, caught },
            _ => Dispositions::default(),
        }
    }

    fn is_ignored(&self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }

    fn is_handled(&self, signal: i32) -> bool {
        self.caught & bit(signal) != 0
    }

    fn is_default(&self, signal: i32) -> bool {
        self.known && !self.is_ignored(signal) && !self.is_handled(signal)
    }
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
