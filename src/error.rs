//! The errors that the crate itself makes, and the aliases that callbacks use.

use std::fmt;
use std::io;
use std::time::Duration;

/// Any error that a user's callback may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What callbacks, [`Backport::run`](crate::Backport::run) and
/// [`Machine::run`](crate::Machine::run) return.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// Why a machine could not run, or did not end cleanly.
///
/// It comes boxed in a [`BoxError`]; `error.downcast_ref::<backport::Error>()` tells the cases
/// apart.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `run` or `start` was called while the machine runs already.
    AlreadyRunning,
    /// The machine has run and stopped. A machine runs once: make a new one.
    AlreadyRan,
    /// The program handles Ctrl-C (or termination) itself, so `Backport::run` doesn't.
    HandlerTaken,
    /// A signal handler could not be installed.
    Signals(io::Error),
    /// A thread could not be started.
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server's listener went bad; the server ended, the others went on.
    Server {
        /// The server's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Threads that did not come back from user code within the drain timeout.
    Stuck {
        /// One line a thread: its name, and whom it serves.
        threads: Vec<String>,
        /// How long the machine waited, from the moment that it was told to stop.
        waited: Duration,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::AlreadyRunning => f.write_str("the machine is running already"),
            Error::AlreadyRan => {
                f.write_str("the machine has run and stopped; a machine runs once, make a new one")
            }
            Error::HandlerTaken => f.write_str(
                "the program handles SIGINT or SIGTERM already; \
                 use Machine::run, which touches no signals, and call Machine::stop from the handler",
            ),
            Error::Signals(_) => f.write_str("cannot install the signal handlers"),
            Error::Thread { name, .. } => write!(f, "cannot start the thread {name}"),
            Error::Server { name, .. } => write!(f, "the server {name} ended with an error"),
            Error::Stuck { threads, waited } => {
                let (count, noun) = (threads.len(), if threads.len() == 1 { "thread" } else { "threads" });
                write!(
                    f,
                    "{count} {noun} still stuck in a callback {waited:.1?} after the stop: {}; \
                     Machine::set_drain_timeout sets the limit",
                    threads.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Signals(source) | Error::Thread { source, .. } | Error::Server { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }
}

/// An I/O error of the same kind whose message is `context` and the cause.
pub(crate) fn with_context(context: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{context}: {error}"))
}

/// A second value of an `io::Error`, which isn't `Clone`: one goes to the caller, one to `closing`.
pub(crate) fn duplicate(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Whether an I/O error says no more than that the peer went away.
pub(crate) fn is_peer_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, NotConnected,
        TimedOut, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | NotConnected
            | TimedOut
            | UnexpectedEof
    )
}
