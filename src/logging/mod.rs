//! The log messages of the crate: a macro for each level, and the path of a message to the application's
//! logger.
//!
//! The rest of the crate never uses the macros of `log`, because they call the logger directly. A logger is
//! user code, which may panic, block forever or call the crate. The macros of this module format the message
//! and put it into a queue. The [`log_thread`] takes the message from the queue and calls the logger.

mod interest;
mod log_thread;

use std::fmt::{self, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use log::{Metadata, Record};
use parking_lot::Mutex;

use crate::catch_panic::catch_panic;
use crate::logging::interest::Interest;
use crate::logging::log_thread::{Entry, LogThread, Place};

/// Logs at a level of [`log::Level`], with the arguments of `format!`. There is a macro below for each level.
macro_rules! log_at {
    ($level:ident, $($arg:tt)+) => {
        if log::Level::$level <= log::STATIC_MAX_LEVEL && log::Level::$level <= log::max_level() {
            let place = &(module_path!(), file!(), line!());
            crate::logging::send(log::Level::$level, format_args!($($arg)+), place);
        }
    };
}

macro_rules! error { ($($arg:tt)+) => { crate::logging::log_at!(Error, $($arg)+) }; }
// `warn` is also an attribute, so a macro cannot be exported under that name.
macro_rules! warning { ($($arg:tt)+) => { crate::logging::log_at!(Warn, $($arg)+) }; }
macro_rules! info { ($($arg:tt)+) => { crate::logging::log_at!(Info, $($arg)+) }; }
macro_rules! debug { ($($arg:tt)+) => { crate::logging::log_at!(Debug, $($arg)+) }; }
macro_rules! trace { ($($arg:tt)+) => { crate::logging::log_at!(Trace, $($arg)+) }; }
pub(crate) use {debug, error, info, log_at, trace, warning as warn};

const TARGET: &str = "backport";

static LOG_THREAD: LazyLock<LogThread> = LazyLock::new(|| LogThread::new(call_logger));
static INTEREST: LazyLock<Interest> = LazyLock::new(|| Interest::new(Instant::now()));

/// Sends one record to the log thread. Never blocks. Only [`log_at!`] calls this function, after it has
/// checked the level.
#[cold]
#[inline(never)]
pub(crate) fn send(level: log::Level, message: fmt::Arguments<'_>, place: &'static Place) {
    if INTEREST.is_wanted(level, Instant::now()) {
        // The arguments may include values of the user, and their `Display` may panic.
        if let Ok(text) = catch_panic(|| message.to_string()) {
            LOG_THREAD.send(Entry { level, text, place });
        }
    }
}

/// Waits until every earlier record has been logged, but for at most `limit`. If the logger needs more than a
/// second for one record, it counts as stuck, and this function returns.
pub(crate) fn flush(limit: Duration) {
    LOG_THREAD.flush(limit);
}

/// Calls the logger. Runs on the log thread, inside `catch_panic`.
fn call_logger(entry: &Entry) {
    if entry.level > log::max_level() {
        return;
    }
    let (logger, (module, file, line)) = (log::logger(), *entry.place);
    let metadata = Metadata::builder().level(entry.level).target(TARGET).build();
    let wanted = logger.enabled(&metadata);
    INTEREST.set(entry.level, wanted, Instant::now());
    if wanted {
        logger.log(
            &Record::builder()
                .metadata(metadata)
                .args(format_args!("{}", entry.text))
                .module_path_static(Some(module))
                .file_static(Some(file))
                .line(Some(line))
                .build(),
        );
    }
}

/// Displays a value, with every character escaped that could forge or garble a log line.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                // Quotes stay because they cannot forge a line, and text with escaped quotes is hard to read.
                '"' | '\'' => self.0.write_char(c)?,
                c => fmt::Display::fmt(&c.escape_debug(), self.0)?,
            }
        }
        Ok(())
    }
}

/// Allows one warning in ten seconds, and counts the warnings that it refuses.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// The time of the last allowed warning, and the number of warnings that were refused since then. Any
    /// thread that has a warning reads and writes both.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Limiter {
    const PERIOD: Duration = Duration::from_secs(10);

    /// Returns `None` if the warning must not be logged at `now`. Otherwise returns the number of warnings
    /// that were refused since the last allowed one.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        match state.0 {
            Some(last) if now.saturating_duration_since(last) < Self::PERIOD => {
                state.1 += 1;
                None
            }
            _ => {
                state.0 = Some(now);
                Some(std::mem::take(&mut state.1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_could_forge_a_line_is_escaped() {
        let escaped = Escaped("a\r\nERROR forged \u{1b}[31m 'é' \"q\"").to_string();
        assert_eq!(escaped, "a\\r\\nERROR forged \\u{1b}[31m 'é' \"q\"");
    }

    #[test]
    fn a_limiter_allows_one_warning_in_ten_seconds_and_counts_the_rest() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        assert_eq!(limiter.allow(start), Some(0));
        assert_eq!(limiter.allow(start + Duration::from_secs(1)), None);
        assert_eq!(limiter.allow(start + Duration::from_secs(9)), None);
        assert_eq!(limiter.allow(start + Duration::from_secs(10)), Some(2));
    }
}
