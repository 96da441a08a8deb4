//! SIGINT, SIGTERM and SIGHUP on Unix.
//!
//! The signals are caught with `signal-hook`. If the dispositions of the signals are unknown, SIGINT is caught
//! with `ctrlc`, which reports an error if the program already handles SIGINT.
//!
//! A handler survives a fork, but its thread does not. A pipe between the two is shared with the parent process.
//! `signal-hook` notes in the memory of the process which signals have come, and the pipe only wakes its thread.
//! Therefore a parent and its child never take each other's signals.

use std::fs;
use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::Builder;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::error::Error;
use crate::signal::{arrived, ctrlc_error};

/// The handlers that are installed. If `install` fails after some of them, the next call continues with the
/// others.
pub(super) struct Installed {
    /// The process that has the threads of `caught`.
    process: u32,
    /// The signals whose handler has a thread in that process.
    caught: Vec<i32>,
    /// For each signal that was caught, whether it has come and no thread has reacted yet. In a forked process,
    /// only these marks know of a signal that came before the new threads were started.
    unseen: Vec<(i32, Arc<AtomicBool>)>,
    /// `true` if `ctrlc` has failed. It may already have set the handler, because it starts its thread
    /// afterwards.
    ctrlc_failed: bool,
}

impl Installed {
    pub(super) const NOTHING: Installed =
        Installed { process: 0, caught: Vec::new(), unseen: Vec::new(), ctrlc_failed: false };

    /// Returns `true` if this process was forked after the handlers were installed.
    pub(super) fn is_forked(&self) -> bool {
        self.process != process::id()
    }

    /// Takes the signals that have come in this process without a thread that reacts.
    pub(super) fn take_unseen(&self) -> Vec<i32> {
        let unseen = self.unseen.iter().filter(|(_, mark)| mark.swap(false, Ordering::AcqRel));
        unseen.map(|&(signal, _)| signal).collect()
    }

    /// Notes that a thread reacts to the signal.
    pub(super) fn mark_seen(&self, signal: i32) {
        let seen = self.unseen.iter().filter(|&&(caught, _)| caught == signal);
        seen.for_each(|(_, mark)| mark.store(false, Ordering::Release));
    }

    /// Returns `true` if the signal was ever caught, perhaps by a parent of this process.
    fn was_caught(&self, signal: i32) -> bool {
        self.unseen.iter().any(|&(caught, _)| caught == signal)
    }

    fn is_caught(&self, signal: i32) -> bool {
        self.caught.contains(&signal)
    }
}

/// Catches the signals. In a process that was forked since the last call, starts its threads again.
pub(super) fn install(installed: &mut Installed) -> Result<(), Error> {
    if installed.is_forked() {
        installed.process = process::id();
        installed.caught.clear();
    }
    let now = Dispositions::read();
    let is_taken = |signal| now.is_handled(signal) && !installed.was_caught(signal);
    if is_taken(SIGTERM) || is_taken(SIGINT) {
        return Err(Error::HandlerTaken);
    }
    if !now.known && !installed.was_caught(SIGINT) {
        catch_interrupt(installed)?;
    }
    let is_wanted = |&signal: &i32| match signal {
        _ if installed.is_caught(signal) => false,
        // A parent of this process has caught it.
        _ if installed.was_caught(signal) => true,
        // It is caught even if it is ignored, because service managers and containers stop a program with it.
        SIGTERM => true,
        // A shell ignores SIGINT for a job in the background, and `nohup` ignores SIGHUP. A signal that is
        // ignored stays ignored.
        _ => now.is_default(signal),
    };
    let signals: Vec<i32> = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(is_wanted).collect();
    catch(installed, &signals).map_err(Error::Signals)
}

/// Catches SIGINT with `ctrlc`, which never replaces a handler of the program.
fn catch_interrupt(installed: &mut Installed) -> Result<(), Error> {
    let handler = || arrived(SIGINT);
    let set =
        if installed.ctrlc_failed { ctrlc::set_handler(handler) } else { ctrlc::try_set_handler(handler) };
    installed.ctrlc_failed = matches!(set, Err(ctrlc::Error::System(_)));
    set.map_err(ctrlc_error)?;
    installed.caught.push(SIGINT);
    installed.unseen.push((SIGINT, Arc::default()));
    Ok(())
}

/// Catches signals with `signal-hook`.
fn catch(installed: &mut Installed, signals: &[i32]) -> io::Result<()> {
    if signals.is_empty() {
        return Ok(());
    }
    // The thread and its pipe come first, because a signal that is caught without a thread would be lost. The
    // thread runs until the process ends. If this function fails, the thread ends when the sender is dropped.
    let (sender, caught) = bounded::<Signals>(1);
    let run = move || caught.iter().for_each(|mut signals| signals.forever().for_each(arrived));
    Builder::new().name("backport-signals".to_owned()).spawn(run)?;
    let iterator = Signals::new::<[i32; 0], i32>([])?;
    for &signal in signals {
        // The handler sets the mark first, and then wakes the thread, which clears it. Handlers act in the
        // order in which they were registered.
        if !installed.was_caught(signal) {
            let mark = Arc::new(AtomicBool::new(false));
            flag::register(signal, Arc::clone(&mark))?;
            installed.unseen.push((signal, mark));
        }
        iterator.add_signal(signal)?;
    }
    sender.send(iterator).map_err(io::Error::other)?;
    installed.caught.extend(signals);
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
/// other systems they are unknown, and SIGHUP is not caught.
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

    fn is_handled(&self, signal: i32) -> bool {
        self.caught & bit(signal) != 0
    }

    fn is_default(&self, signal: i32) -> bool {
        self.known && (self.ignored | self.caught) & bit(signal) == 0
    }
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
