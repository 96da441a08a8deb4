//! Signals. The first signal stops the machine of `Backport::run` gracefully, and a second signal ends the
//! process.
//!
//! The signal handlers have a thread. Handlers cannot be removed safely, so the thread runs until the process
//! ends. If no machine runs, a signal has its default effect. If the setup of a machine forks the process, the
//! thread is started again in the forked process.
//!
//! Signals often come in bursts. The rest of a burst may arrive after `run` has returned, when the program is
//! about to exit with its own status. In that case, the default effect is delayed until the burst is over.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::catch_panic::catch_panic;
use crate::error::Error;
use crate::logging::{self, error, info, Escaped};
#[cfg(unix)]
use crate::signal::unix as platform;
#[cfg(not(unix))]
use crate::signal::windows as platform;

/// Two signals within this time count as one. A terminal and a supervisor may both send a signal, and a user
/// may press Ctrl-C twice.
const BURST: Duration = Duration::from_millis(100);
/// How long to wait for the log before a second signal ends the process.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Called at the first signal. It may drop values of the user's setup, and thus run user code.
type Stop = Arc<dyn Fn() + Send + Sync>;

/// Written by `watch` and its guard, and by the signal threads.
static WATCHED: Mutex<Watched> =
    Mutex::new(Watched { installed: platform::Installed::NOTHING, stop: None, stopping: None, last: None });

struct Watched {
    installed: platform::Installed,
    /// The function that stops the machine. `None` if no machine runs.
    stop: Option<Stop>,
    /// The thread that calls `stop`. The first signal starts it.
    stopping: Option<JoinHandle<()>>,
    /// The time of the last signal for the machine. After the machine has stopped, the time is kept until the
    /// next machine runs.
    last: Option<Instant>,
}

/// A guard. Signals go to the machine until the guard drops.
pub(crate) struct Watching(());

/// Calls `stop` at the first signal that comes before the guard drops. Only one guard can exist at a time.
pub(crate) fn watch(stop: impl Fn() + Send + Sync + 'static) -> Result<Watching, Error> {
    let mut watched = WATCHED.lock();
    if watched.stop.is_some() {
        return Err(Error::AlreadyRunning);
    }
    platform::install(&mut watched.installed)?;
    // The marks of an earlier run are of no interest.
    drop(watched.installed.take_unseen());
    watched.stop = Some(Arc::new(stop));
    watched.last = None;
    Ok(Watching(()))
}

impl Watching {
    /// Returns `true` if a signal has come.
    pub(crate) fn is_signalled(&self) -> bool {
        WATCHED.lock().last.is_some()
    }
}

impl Watching {
    /// Watches the signals of this process if it was forked from the process that called [`watch`]. The
    /// handlers have survived the fork, but their threads have not. Reacts to the signals that have come since
    /// the fork. If the process was not forked, does nothing.
    pub(crate) fn follow_fork(&self) -> Result<(), Error> {
        let mut watched = WATCHED.lock();
        if !watched.installed.is_forked() {
            return Ok(());
        }
        let stopped = watched.forget_thread();
        platform::install(&mut watched.installed)?;
        let unseen = watched.installed.take_unseen();
        drop(watched);
        if stopped {
            // The thread that calls it may exist only in the parent.
            stop_watched();
        }
        unseen.into_iter().for_each(arrived);
        Ok(())
    }
}

impl Watched {
    /// Forgets the thread that calls `stop`, which is a thread of another process. Joining it would never
    /// return. Returns `true` if there was one.
    fn forget_thread(&mut self) -> bool {
        let thread = self.stopping.take();
        let found = thread.is_some();
        std::mem::forget(thread);
        found
    }
}

impl Drop for Watching {
    /// Waits until `stop` has returned. Until then, a second signal still ends the process.
    fn drop(&mut self) {
        loop {
            let mut watched = WATCHED.lock();
            if watched.installed.is_forked() {
                watched.forget_thread();
            }
            let Some(stopping) = watched.stopping.take() else {
                let stop = watched.stop.take();
                drop(watched);
                drop(stop);
                return;
            };
            drop(watched);
            if stopping.join().is_err() {
                error!("the thread that stops the machine panicked");
            }
        }
    }
}

/// The reaction to a signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Stop,
    /// The signal belongs to the burst of the last one.
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

/// Returns how long the burst of the last signal still lasts.
fn rest_of_burst(last: Option<Instant>, now: Instant) -> Duration {
    last.map_or(Duration::ZERO, |last| BURST.saturating_sub(now.saturating_duration_since(last)))
}

/// Reacts to a signal, on the thread of the signal's handler.
fn arrived(signal: i32) {
    let mut watched = WATCHED.lock();
    watched.installed.mark_seen(signal);
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
            info!("signal {signal}: the machine stops; another signal ends the process at once");
            stop_watched();
        }
        Reaction::Ignore => {}
        Reaction::Exit => {
            logging::flush(LAST_WORDS);
            platform::exit(128 + signal)
        }
    }
}

/// Calls `stop` on a separate thread, because `stop` may take long and the next signal must not wait for it.
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
        error!("a panic while a signal stopped the machine: {}", Escaped(message));
    }
}

fn ctrlc_error(error: ctrlc::Error) -> Error {
    match error {
        ctrlc::Error::MultipleHandlers => Error::HandlerTaken,
        ctrlc::Error::System(error) => Error::Signals(error),
        other => Error::Signals(io::Error::other(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_counts_as_one_signal_and_a_later_signal_is_the_second() {
        let (mut last, start) = (None, Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(react(&mut last, start), Reaction::Stop);
        assert_eq!(react(&mut last, start + ms(90)), Reaction::Ignore);
        assert_eq!(react(&mut last, start + ms(180)), Reaction::Ignore);
        assert_eq!(react(&mut last, start + ms(280)), Reaction::Exit);
    }
}
