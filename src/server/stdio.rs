//! The stdio server. Its only client is the process that has started this process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::adapter::Adapter;
use crate::closing::Closing;
use crate::event::Event;
use crate::logging::Escaped;
use crate::remote::Remote;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::Accepted;
use crate::server::permit::Permit;
use crate::server::session::Sessions;
use crate::server::state::ServerState;
use crate::server::Server;
use crate::threads::pool::Job;
use crate::transport::{Stdio, StdioGuard};

/// A server on the standard input and output of this process, for
/// [`Machine::prepare`](crate::Machine::prepare).
///
/// It has one client ([`Remote::Stdio`]), which is connected from the start of the machine until the end of
/// stdin. The end of stdin ends the server. A process can have only one stdio server at a time. On Unix a
/// stop takes effect at once, even while stdin is idle.
///
/// ```no_run
/// use backport::{receiving, Backport, StdioServer};
///
/// fn main() -> backport::Result {
///     Backport::run(|machine| {
///         machine.prepare(StdioServer::new(|| receiving(|client, data| Ok(client.write(data)?))))?;
///         Ok(())
///     })
/// }
/// ```
///
/// # The reader of the output
///
/// The reader is usually the program that started this process. It may pause for as long as it likes, and no
/// output is lost. By default a write has no timeout, and the last output is delivered without a time limit.
/// Only a stop has a limit: after the [drain timeout](crate::Machine::set_drain_timeout), output that the
/// reader has not taken is dropped.
///
/// If stdout is a TCP connection, as under inetd, the last output is as safe as with a TCP server, and the
/// same limits apply to its delivery. The peer sees the end of output when the conversation is closed. If the
/// peer ends its own output first, it sees the end when the process ends.
///
/// Posted output always has a limit, which is [1 MiB](crate::ServerHandle::set_max_backlog).
///
/// If the reader has closed stdout, a write fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe), because
/// Rust programs ignore SIGPIPE. If a program has restored the default action of SIGPIPE, such a write ends
/// the process.
///
/// # Other code that uses the standard streams
///
/// On Unix, descriptor 0 is `/dev/null` and descriptor 1 is standard error while the server runs. Therefore
/// `println!` prints to stderr, and a child process neither reads the input nor writes to the output. The
/// descriptors come back when the server has ended, and at the latest when `run` returns.
///
/// - Text that was printed before the server runs comes first. The preparation flushes stdout, so it blocks
///   until the reader has taken that text.
/// - Input that [`std::io::stdin`] has buffered before the server runs is the first input of the adapter. It
///   is lost if another part of the program holds the lock of stdin while the machine starts. The start then
///   takes a second longer.
/// - If stderr is closed, or if it is the same pipe, socket or file as stdout, printed text is dropped. Text
///   that is written to stderr itself is not redirected.
/// - After a half-close, descriptor 1 stays redirected. The reader of a pipe sees the end of output only when
///   no descriptor for the pipe is left.
/// - If a thread holds the lock of stdout when the server ends, the end may take a quarter of a second
///   longer.
///
/// [`keep_descriptors`](StdioServer::keep_descriptors) turns this off. Windows has no safe way to replace the
/// standard streams, so other code must leave them alone there. Buffered input comes first there, too.
///
/// # Errors of `run`
///
/// The conversation of this server is the purpose of the process, so its failure is an error of
/// [`Machine::run`](crate::Machine::run) and [`Backport::run`](crate::Backport::run). They return
/// [`Error::Server`](crate::Error::Server) with the cause if the conversation ends for one of these reasons:
///
/// - [`Failed`](Closing::Failed) or [`Panicked`](Closing::Panicked).
/// - [`TooSlow`](Closing::TooSlow).
/// - [`Lost`](Closing::Lost), unless the reader has closed or reset the connection.
///
/// The end of stdin, a close, a stop and a closed stdout are no errors.
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct StdioServer<F> {
    factory: F,
    write_timeout: Duration,
    keep_descriptors: bool,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> StdioServer<F> {
    /// Creates a server. `factory` makes the only adapter, on the client's thread.
    pub fn new(factory: F) -> StdioServer<F> {
        StdioServer { factory, write_timeout: Duration::MAX, keep_descriptors: false }
    }

    /// Sets how long one write may block in total. After that, the conversation ends with
    /// [`TooSlow`](Closing::TooSlow), and `run` returns an error. Default: no limit. A limit over a year
    /// counts as a year.
    pub fn write_timeout(self, limit: Duration) -> StdioServer<F> {
        StdioServer { write_timeout: limit, ..self }
    }

    /// Sets whether the descriptors 0 and 1 stay as they are while the server runs. Default: `false`.
    ///
    /// With `true`, other code and child processes use the same streams as the server, for example on
    /// purpose. This has two more effects. Input that [`std::io::stdin`] has buffered before stays there and
    /// does not reach the adapter. After a half-close, the reader of a pipe sees the end of output only when
    /// the process ends. On Windows this setting has no effect.
    pub fn keep_descriptors(self, keep: bool) -> StdioServer<F> {
        StdioServer { keep_descriptors: keep, ..self }
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for StdioServer<F> {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let taken = Taken::take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrInUse, "this process already has a stdio server; stop it first")
        })?;
        control.set_name("stdio");
        let stdio = Stdio::open(Arc::clone(&control.engine().reactor), self.keep_descriptors)?;
        let server = Arc::clone(control.state());
        server.limits().set_write_timeout(self.write_timeout);
        let guard = stdio.guard();
        server.set_stdio_guard(Arc::clone(&guard));
        let (reports, closings) = bounded(1);
        let mut sessions = Sessions::new(&control, self.factory, Stdio::connect).reporting(reports);
        if stdio.is_patient() {
            sessions = sessions.patient();
        }
        let sessions = Arc::new(sessions);
        control.spawn("stdio", move || {
            let guarded = Guarded::engage(guard);
            // This thread serves the only client.
            if let Some(permit) = Permit::take(&server) {
                let mut session = sessions.session(permit, Accepted { socket: stdio, remote: Remote::Stdio });
                // The session drops the factory, because that may run user code.
                drop(sessions);
                session.run();
            }
            if let Some(failure) = closings.try_recv().ok().and_then(failure) {
                server.report_failure(failure);
            }
            drop(guarded);
            drop(taken);
        })?;
        Ok(control.handle())
    }
}

/// Returns the error of `run` after a conversation that ended for this reason, if the reason is an error.
fn failure(reason: Closing) -> Option<io::Error> {
    match reason {
        Closing::Failed(error) => Some(match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        }),
        Closing::Panicked(message) => {
            Some(io::Error::other(format!("a callback panicked: {}", Escaped(message))))
        }
        Closing::TooSlow => Some(io::Error::new(
            io::ErrorKind::TimedOut,
            "the reader of standard output reads too slowly (write_timeout, max_backlog)",
        )),
        // The reader has closed its end. A socket reports this as a reset if the reader had unread data.
        Closing::Lost(error)
            if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            None
        }
        Closing::Lost(error) => Some(error),
        Closing::ByPeer | Closing::ByServer | Closing::Stopping | Closing::Idle => None,
    }
}

/// The parts of a server that only a server with a single client uses.
impl ServerState {
    /// Reports that the only conversation of this server has failed, or its only attempt to connect. The server
    /// ends. The failure becomes the error of `run`.
    pub(crate) fn report_failure(&self, failure: io::Error) {
        self.send(Event::ServerFailed(self.id(), failure));
    }

    /// Sets the guard of the standard streams. The stdio server calls this while it is prepared.
    pub(crate) fn set_stdio_guard(&self, guard: Arc<StdioGuard>) {
        self.stdio_guard.get_or_init(|| guard);
    }

    /// Makes the process ready for the run. The thread in `run` calls this before any thread starts.
    pub(crate) fn begin_run(&self) {
        if let Some(guard) = self.stdio_guard.get() {
            guard.engage();
        }
    }

    /// Gives back what the process has lent to a server that did not end. The thread in `run` calls this when
    /// it gives up on a thread of the server.
    pub(crate) fn give_up(&self) {
        if let Some(guard) = self.stdio_guard.get() {
            guard.release_briefly();
        }
    }
}

impl<F> fmt::Debug for StdioServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioServer")
            .field("write_timeout", &self.write_timeout)
            .field("keep_descriptors", &self.keep_descriptors)
            .finish_non_exhaustive()
    }
}

/// The descriptors are guarded until this drops.
struct Guarded(Arc<StdioGuard>);

impl Guarded {
    fn engage(guard: Arc<StdioGuard>) -> Guarded {
        guard.engage();
        Guarded(guard)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A guard that exists while the standard input and output of the process are in use.
struct Taken;

/// Set and cleared only by [`Taken`].
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Taken {
    fn take() -> Option<Taken> {
        // The guard is created only if no other exists, because dropping it clears the mark.
        (!TAKEN.swap(true, Ordering::AcqRel)).then(|| Taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_stdio_server_has_the_documented_defaults_and_takes_settings() {
        let server = StdioServer::new(|| crate::adapter::receiving(|_, _| Ok(())));
        assert_eq!((server.write_timeout, server.keep_descriptors), (Duration::MAX, false));
        let server = server.write_timeout(Duration::from_millis(3)).keep_descriptors(true);
        assert_eq!((server.write_timeout, server.keep_descriptors), (Duration::from_millis(3), true));
    }

    #[test]
    fn the_reasons_that_are_errors_of_the_run() {
        let lost = |kind: io::ErrorKind| failure(Closing::Lost(kind.into())).map(|error| error.kind());
        assert_eq!(lost(io::ErrorKind::BrokenPipe), None);
        assert_eq!(lost(io::ErrorKind::ConnectionReset), None);
        assert_eq!(lost(io::ErrorKind::UnexpectedEof), Some(io::ErrorKind::UnexpectedEof));
        for reason in [Closing::ByPeer, Closing::ByServer, Closing::Stopping, Closing::Idle] {
            assert!(failure(reason).is_none());
        }
        let failed = failure(Closing::Failed("on purpose".into())).expect("it is an error");
        assert_eq!(failed.to_string(), "on purpose");
        let panicked = failure(Closing::Panicked("a\u{1b}b".to_owned())).expect("it is an error");
        assert_eq!(panicked.to_string(), "a callback panicked: a\\u{1b}b");
        let slow = failure(Closing::TooSlow).expect("it is an error");
        assert_eq!(slow.kind(), io::ErrorKind::TimedOut);
    }
}
