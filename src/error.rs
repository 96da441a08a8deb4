//! The error types of the public API, and helpers for I/O errors.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::iter;
use std::time::Duration;

/// Any error that a callback may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of a callback, of [`Backport::run`](crate::Backport::run) and of
/// [`Machine::run`](crate::Machine::run).
///
/// If `main` returns an error, Rust prints its [`Debug`](fmt::Debug) form. For a
/// [`backport::Error`](crate::Error) this is a sentence. For a [`std::io::Error`] it is less readable, for
/// example `Custom { kind: AddrInUse, error: "cannot listen on …" }`. The following `main` prints every error
/// as a sentence, and ends with a failure status:
///
/// ```no_run
/// use backport::{receiving, Backport};
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     let ended = Backport::run(|machine| {
///         machine.prepare_tcp_server("localhost:8000", || receiving(|client, data| Ok(client.write(data)?)))?;
///         Ok(())
///     });
///     let Err(error) = ended else { return ExitCode::SUCCESS };
///     eprint!("error: {error}");
///     std::iter::successors(error.source(), |&cause| cause.source()).for_each(|cause| eprint!(": {cause}"));
///     eprintln!();
///     ExitCode::FAILURE
/// }
/// ```
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// The reason why a machine could not run, or did not end cleanly.
///
/// Functions return it inside a [`BoxError`]. Use `error.downcast_ref::<backport::Error>()` to get it back.
/// Its [`Debug`](fmt::Debug) output is a sentence that ends with the causes, so `main` may return it.
#[non_exhaustive]
pub enum Error {
    /// `run` or `start` was called while the machine was already running.
    AlreadyRunning,
    /// The machine has run and stopped. A machine runs only once.
    AlreadyRan,
    /// The program already handles SIGINT or SIGTERM itself, so `Backport::run` cannot handle them.
    HandlerTaken,
    /// A signal handler could not be installed.
    Signals(io::Error),
    /// A thread could not be started.
    Thread {
        /// The thread's name.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The listener of a server failed, or the conversation of a [`StdioServer`](crate::StdioServer), or the only
    /// attempt of a [`TcpClient`](crate::TcpClient) that does not connect again. That server has ended. The
    /// other servers were not affected.
    Server {
        /// The server's name.
        name: String,
        /// The error of the system, or the error that ended the conversation.
        source: io::Error,
    },
    /// Threads did not return from user code within the drain timeout.
    Stuck {
        /// One line for each thread, with the name of the thread or the client that it serves.
        threads: Vec<String>,
        /// The time from the beginning of the stop until the machine gave up.
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
                    "{count} {noun} still stuck in a callback {waited:.1?} after the stop began: {}; \
                     Machine::set_drain_timeout sets the limit",
                    threads.join(", ")
                )
            }
        }
    }
}

impl fmt::Debug for Error {
    /// Writes the message and its causes, because this is printed if `main` returns the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        iter::successors(self.source(), |&cause| cause.source()).try_for_each(|cause| write!(f, ": {cause}"))
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

/// Makes an I/O error of the same kind with the message `context: error`.
pub(crate) fn with_context(context: impl fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{context}: {error}"))
}

/// Copies an `io::Error`, which is not `Clone`. The copy is for `closing`, and the caller gets the original.
pub(crate) fn duplicate(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The cause of the error of a read whose deadline has passed. It distinguishes this error from every other
/// `TimedOut`, such as that of a lost connection.
#[derive(Debug)]
struct DeadlinePassed;

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer sent nothing more before the deadline")
    }
}

impl std::error::Error for DeadlinePassed {}

/// Creates the error of a read whose deadline has passed.
pub(crate) fn deadline_passed() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, DeadlinePassed)
}

/// Returns `true` if [`deadline_passed`] has created this error.
pub(crate) fn is_deadline(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<DeadlinePassed>())
}

/// Returns `true` if an I/O error of this kind means that the peer has disconnected or cannot be reached.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_output_of_an_error_is_a_sentence_that_ends_with_the_causes() {
        let source =
            || io::Error::new(io::ErrorKind::AddrInUse, Error::Signals(io::ErrorKind::NotFound.into()));
        let threads =
            vec!["backport-worker-1 (client 1 from 127.0.0.1:1)".to_owned(), "backport-scheduler".to_owned()];
        let waited = Duration::from_millis(1234);
        let name = || "tcp 127.0.0.1:8000".to_owned();
        for (error, sentence) in [
            (Error::AlreadyRunning, "the machine is running already"),
            (Error::AlreadyRan, "the machine has run and stopped; a machine runs once, make a new one"),
            (
                Error::HandlerTaken,
                "the program handles SIGINT or SIGTERM already; \
                 use Machine::run, which touches no signals, and call Machine::stop from the handler",
            ),
            (Error::Signals(io::Error::other("no thread")), "cannot install the signal handlers: no thread"),
            (
                Error::Thread {
                    name: "backport-scheduler".to_owned(),
                    source: io::Error::other("no memory"),
                },
                "cannot start the thread backport-scheduler: no memory",
            ),
            (
                // Each cause in the chain follows once.
                Error::Server { name: name(), source: source() },
                "the server tcp 127.0.0.1:8000 ended with an error: \
                 cannot install the signal handlers: entity not found",
            ),
            (
                Error::Stuck { threads: threads[..1].to_vec(), waited },
                "1 thread still stuck in a callback 1.2s after the stop began: \
                 backport-worker-1 (client 1 from 127.0.0.1:1); Machine::set_drain_timeout sets the limit",
            ),
            (
                Error::Stuck { threads, waited },
                "2 threads still stuck in a callback 1.2s after the stop began: \
                 backport-worker-1 (client 1 from 127.0.0.1:1), backport-scheduler; \
                 Machine::set_drain_timeout sets the limit",
            ),
        ] {
            assert_eq!(format!("{error:?}"), sentence);
            assert_eq!(format!("{:?}", BoxError::from(error)), sentence, "in the box that `main` returns");
        }
    }
}
