//! What the crate says to the log: escaped, limited, and handed to the application's logger by a
//! thread that nothing else depends on.
//!
//! Everything goes through the macro here, never through `log`'s own: a logger is user code, which
//! may panic, block for ever (on a pipe that nobody reads) or call back into the crate, and must cost
//! neither a client nor a server. So a record is formatted where it is said and handed over by the
//! [`log_thread`].

mod interest;
mod log_thread;
mod queue;

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use log::{Metadata, Record};
use parking_lot::Mutex;

use crate::catch_panic::catch_panic;
use crate::logging::interest::Interest;
use crate::logging::log_thread::LogThread;
use crate::logging::queue::{Entry, Place};

/// Logs at a level of [`log::Level`], with the arguments of `format!`. The macros below name the level.
macro_rules! log_at {
    ($level:ident, $($arg:tt)+) => {
        if log::Level::$level <= log::STATIC_MAX_LEVEL && log::Level::$level <= log::max_level() {
            let place = &(module_path!(), file!(), line!());
            crate::logging::send(log::Level::$level, format_args!($($arg)+), place);
        }
    };
}

macro_rules! error { ($($arg:tt)+) => { crate::logging::log_at!(Error, $($arg)+) }; }
// `warn` is an attribute, too: a macro of that name can be exported under another name only.
macro_rules! warning { ($($arg:tt)+) => { crate::logging::log_at!(Warn, $($arg)+) }; }
macro_rules! info { ($($arg:tt)+) => { crate::logging::log_at!(Info, $($arg)+) }; }
macro_rules! debug { ($($arg:tt)+) => { crate::logging::log_at!(Debug, $($arg)+) }; }
macro_rules! trace { ($($arg:tt)+) => { crate::logging::log_at!(Trace, $($arg)+) }; }
pub(crate) use {debug, error, info, log_at, trace, warning as warn};

const TARGET: &str = "backport";

static SCRIBE: LogThread = LogThread::new(&hand_to_logger);
static INTEREST: Interest = Interest::new();

/// Has one record handed to the application's logger; waits for nothing. Behind [`log_at!`], which
/// has checked the level.
#[cold]
#[inline(never)]
pub(crate) fn send(level: log::Level, message: fmt::Arguments<'_>, place: &'static Place) {
    if INTEREST.is_wanted(level, Instant::now()) {
        // What is displayed may be the user's, and panic.
        if let Ok(text) = catch_panic(|| message.to_string()) {
            SCRIBE.say(Entry { level, text, place });
        }
    }
}

/// Waits until everything that was said has been logged, but not for a logger that is stuck: at
/// most `limit` in all, and a second for one record.
pub(crate) fn flush(limit: Duration) {
    SCRIBE.flush(limit);
}

/// On the log_thread's thread, fenced.
fn hand_to_logger(entry: &Entry) {
    if entry.level > log::max_level() {
        return;
    }
    let (logger, (module, file, line)) = (log::logger(), *entry.place);
    let metadata = Metadata::builder().level(entry.level).target(TARGET).build();
    let wanted = logger.enabled(&metadata);
    INTEREST.learn(entry.level, wanted, Instant::now());
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

/// Displays a value with everything escaped that could forge or garble a log line.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Quotes can't forge a line and read worse escaped, so they stay.
        for c in text.chars() {
            match c {
                '"' | '\'' => self.0.write_char(c)?,
                c => fmt::Display::fmt(&c.escape_debug(), self.0)?,
            }
        }
        Ok(())
    }
}

/// Lets one warning in ten seconds through, and counts what it held back.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// When the last one went through, and how many were held back since. Written and read by
    /// whichever thread has something to say.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Limiter {
    const PERIOD: Duration = Duration::from_secs(10);

    /// `Some(held back since the last time)` if it may be said at `now`.
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
    fn escapes_what_could_forge_a_line() {
        let said = Escaped("a\r\nERROR forged \u{1b}[31m 'é' \"q\"").to_string();
        assert_eq!(said, "a\\r\\nERROR forged \\u{1b}[31m 'é' \"q\"");
    }

    #[test]
    fn allows_one_in_ten_seconds_and_counts_the_rest() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        assert_eq!(limiter.allow(start), Some(0));
        assert_eq!(limiter.allow(start + Duration::from_secs(1)), None);
        assert_eq!(limiter.allow(start + Duration::from_secs(9)), None);
        assert_eq!(limiter.allow(start + Duration::from_secs(10)), Some(2));
    }
}
