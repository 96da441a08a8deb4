//! The stdio server. Its only client is the process that has started this process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::remote::Remote;
use crate::server::control::Control;
use crate::server::handle::ServerHandle;
use crate::server::listener::Accepted;
use crate::server::permit::Permit;
use crate::server::session::Sessions;
use crate::server::Server;
use crate::threads::pool::Job;
use crate::transport::{StdioTransport, Transport};

/// A server on the standard input and output of this process, for
/// [`Machine::prepare`](crate::Machine::prepare).
///
/// It has one client ([`Remote::Stdio`]), which is connected from the start of the machine until the end of
/// stdin. The end of stdin ends the server. A process can have only one stdio server at a time. Until it has
/// ended, no other code should read stdin or write to stdout. On Unix a stop takes effect at once, even while
/// stdin is idle.
///
/// A write to a closed pipe returns an error, because Rust programs ignore SIGPIPE. If a program has restored
/// the default action of SIGPIPE, such a write ends the process.
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct StdioServer<F> {
    factory: F,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> StdioServer<F> {
    /// Creates a server. `factory` makes the only adapter, on the client's thread.
    pub fn new(factory: F) -> StdioServer<F> {
        StdioServer { factory }
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for StdioServer<F> {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let taken = Taken::take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrInUse, "this process already has a stdio server; stop it first")
        })?;
        control.set_name("stdio");
        let socket = StdioTransport::new(Arc::clone(&control.engine().reactor))?;
        let connect = |socket| -> Arc<dyn Transport> { Arc::<StdioTransport>::new(socket) };
        let sessions = Arc::new(Sessions::new(&control, self.factory, connect));
        let server = Arc::clone(control.state());
        control.spawn("stdio", move || {
            // This thread serves the only client.
            if let Some(permit) = Permit::take(&server) {
                sessions.session(permit, Accepted { socket, remote: Remote::Stdio }).run();
            }
            drop(taken);
        })?;
        Ok(control.handle())
    }
}

impl<F> fmt::Debug for StdioServer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioServer").finish_non_exhaustive()
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
