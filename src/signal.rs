//! Signals: the first stops the machine of `Backport::run` gracefully, the second ends the process.
//!
//! SIGINT (Ctrl-C and Ctrl-Break on Windows) comes through `ctrlc`, which tells whether the program
//! handles it already. SIGTERM, and SIGHUP where that can be done well, come through `signal-hook`,
//! since `ctrlc` would take over a SIGHUP that `nohup` has set to be ignored, and can't tell which
//! signal it was. Each has a thread, which stays for the life of the process: handlers can't be
//! taken back safely. Without a machine to stop, a signal has its default effect: after the burst
//! that has stopped the last one, whose end may come when `run` has returned and the program is about
//! to exit with a status of its own.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::catch_panic::catch_panic;
use crate::error::Error;
use crate::logging::{self, error, info, Escaped};

/// Signals that follow each other more closely than this are one: a terminal, a supervisor and an
/// impatient thumb may each send their own.
const BURST: Duration = Duration::from_millis(100);
/// What the log gets to catch up before the process ends at once.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What to call at the first signal. It may drop what the user's setup has prepared.
type Stop = Arc<dyn Fn() + Send + Sync>;

/// Written by `watch` and its guard, and by the signal threads.
static WATCHED: Mutex<Watched> =
    Mutex::new(Watched { installed: platform::Installed::NOTHING, stop: None, stopping: None, last: None });

struct Watched {
    installed: platform::Installed,
    /// The machine that runs, if one does.
    stop: Option<Stop>,
    /// The thread that calls `stop`, from the first signal on.
    stopping: Option<JoinHandle<()>>,
    /// When the last signal came that it was told of, or the machine before it.
    last: Option<Instant>,
}

/// Signals go to the machine for as long as this lives.
pub(crate) struct Watching(());

/// Sends signals to `stop` until the guard drops. One at a time.
pub(crate) fn watch(stop: impl Fn() + Send + Sync + 'static) -> Result<Watching, Error> {
    let mut watched = WATCHED.lock();
    if watched.stop.is_some() {
        return Err(Error::AlreadyRunning);
    }
    platform::install(&mut watched.installed)?;
    watched.stop = Some(Arc::new(stop));
    watched.last = None;
    Ok(Watching(()))
}

impl Watching {
    /// Whether a signal has come.
    pub(crate) fn is_signalled(&self) -> bool {
        WATCHED.lock().last.is_some()
    }
}

impl Drop for Watching {
    /// Waits until the machine has been told. Meanwhile a second signal ends the process as ever.
    fn drop(&mut self) {
        loop {
            let mut watched = WATCHED.lock();
            let Some(stopping) = watched.stopping.take() else {
                let stop = watched.stop.take();
                drop(watched);
                drop(stop);
                return;
            };
            drop(watched);
            if stopping.join().is_err() {
                error!("a stop ended in a panic outside of its fence");
            }
        }
    }
}

/// What to do about a signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Stop,
    /// Another one of the same burst.
    Ignore,
    Exit,
}

fn react(last: &mut Option<Instant>, now: Instant) -> Reaction {
    match last.replace(now) {
        None => Reaction::Stop,
        last if rest_of_burst(last, now).is_zero() => Reaction::Exit,
        Some(_) => Reaction::Ignore,
    }
}

/// What is left of the burst that the last signal belongs to.
fn rest_of_burst(last: Option<Instant>, now: Instant) -> Duration {
    last.map_or(Duration::ZERO, |last| BURST.saturating_sub(now.saturating_duration_since(last)))
}

/// Called on a signal's thread.
fn arrived(signal: i32) {
    let mut watched = WATCHED.lock();
    if watched.stop.is_none() {
        let rest = rest_of_burst(watched.last, Instant::now());
        drop(watched);
        std::thread::sleep(rest);
        watched = WATCHED.lock();
        if watched.stop.is_none() {
            drop(watched);
            return platform::default_effect(signal);
        }
    }
    let reaction = react(&mut watched.last, Instant::now());
    drop(watched);
    match reaction {
        Reaction::Stop => {
            info!("signal {signal}: the machine stops; another one ends the process at once");
            stop_watched();
        }
        Reaction::Ignore => {}
        Reaction::Exit => {
            logging::flush(LAST_WORDS);
            platform::exit(128 + signal)
        }
    }
}

/// Calls `stop` on a thread of its own: it may take its time, and the next signal may not wait for it.
fn stop_watched() {
    let mut watched = WATCHED.lock();
    let Some(stop) = watched.stop.clone() else { return };
    let on_thread = Arc::clone(&stop);
    match Builder::new().name("backport-stop".to_owned()).spawn(move || call(on_thread)) {
        Ok(thread) => watched.stopping = Some(thread),
        Err(_) => {
            drop(watched);
            call(stop);
        }
    }
}

fn call(stop: Stop) {
    if let Err(message) = catch_panic(move || stop()) {
        error!("a panic in the drop of what a setup had prepared: {}", Escaped(message));
    }
}

fn failed(error: ctrlc::Error) -> Error {
    match error {
        ctrlc::Error::MultipleHandlers => Error::HandlerTaken,
        ctrlc::Error::System(error) => Error::Signals(error),
        other => Error::Signals(io::Error::other(other.to_string())),
    }
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::thread::Builder;

    use crossbeam_channel::bounded;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level;

    use super::{arrived, failed, Error};

    /// What has been done of it: a try that fails in the middle is taken up by the next.
    pub(super) struct Installed {
        /// Perhaps: `ctrlc` sets the handler first, and may have failed to start its thread.
        half: bool,
        interrupt: bool,
        termination: bool,
    }

    impl Installed {
        pub(super) const NOTHING: Installed = Installed { half: false, interrupt: false, termination: false };
    }

    pub(super) fn install(installed: &mut Installed) -> Result<(), Error> {
        let now = disposition::read();
        if !installed.termination && now.is_handled(SIGTERM) {
            return Err(Error::HandlerTaken);
        }
        if !installed.interrupt {
            // Shells ignore it for background jobs, and whoever sends it to one means it.
            let set = if installed.half || now.is_ignored(SIGINT) {
                ctrlc::set_handler(|| arrived(SIGINT))
            } else {
                ctrlc::try_set_handler(|| arrived(SIGINT))
            };
            installed.half = matches!(set, Err(ctrlc::Error::System(_)));
            set.map_err(failed)?;
            installed.interrupt = true;
        }
        if !installed.termination {
            let mut signals = vec![SIGTERM];
            // A SIGHUP that nohup has set to be ignored stays ignored.
            if now.is_default(SIGHUP) {
                signals.push(SIGHUP);
            }
            // The thread first: what is caught without one would be lost. It lives as long as the
            // process, or ends here with the sender.
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
        /// In a container it is often the program itself. Its signals have no default effect
        /// (`pid_namespaces(7)`), and what emulates one would abort.
        const INIT: u32 = 1;
        if std::process::id() == INIT || low_level::emulate_default_handler(signal).is_err() {
            exit(128 + signal);
        }
    }

    /// At once: no handlers of `atexit`, which might wait for what is stuck.
    pub(super) fn exit(status: i32) -> ! {
        low_level::exit(status)
    }

    /// What the process does about its signals. Only Linux tells without unsafe code; elsewhere
    /// nothing is known, and SIGHUP is left alone.
    mod disposition {
        #[derive(Default)]
        pub(super) struct Dispositions {
            known: bool,
            ignored: u64,
            caught: u64,
        }

        /// From `/proc/self/status` (proc(5)): masks in hexadecimal, signal 1 the lowest bit.
        pub(super) fn read() -> Dispositions {
            let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
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

        impl Dispositions {
            pub(super) fn is_ignored(&self, signal: i32) -> bool {
                self.ignored & bit(signal) != 0
            }

            pub(super) fn is_handled(&self, signal: i32) -> bool {
                self.caught & bit(signal) != 0
            }

            pub(super) fn is_default(&self, signal: i32) -> bool {
                self.known && !self.is_ignored(signal) && !self.is_handled(signal)
            }
        }

        fn bit(signal: i32) -> u64 {
            1 << (signal - 1)
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use super::{arrived, failed, Error};

    /// The number that shells give to Ctrl-C everywhere.
    const SIGINT: i32 = 2;

    /// Whether it has been done.
    pub(super) struct Installed(bool);

    impl Installed {
        pub(super) const NOTHING: Installed = Installed(false);
    }

    pub(super) fn install(installed: &mut Installed) -> Result<(), Error> {
        if !installed.0 {
            ctrlc::try_set_handler(|| arrived(SIGINT)).map_err(failed)?;
            installed.0 = true;
        }
        Ok(())
    }

    /// The handler can't be taken back: it does what the default does.
    pub(super) fn default_effect(signal: i32) {
        exit(128 + signal)
    }

    #[allow(
        clippy::exit,
        reason = "the default effect of the signal, and the second one's documented effect"
    )]
    pub(super) fn exit(status: i32) -> ! {
        std::process::exit(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_signal_and_a_later_one_the_second() {
        let (mut last, start) = (None, Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(react(&mut last, start), Reaction::Stop);
        assert_eq!(react(&mut last, start + ms(90)), Reaction::Ignore);
        assert_eq!(react(&mut last, start + ms(180)), Reaction::Ignore);
        assert_eq!(react(&mut last, start + ms(280)), Reaction::Exit);
    }
}
