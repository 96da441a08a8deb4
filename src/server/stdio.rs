//! The stdio server: one client, who is whoever started the process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::link::stdio::StdioLink;
use crate::link::Link;
use crate::remote::Remote;
use crate::server::handle::ServerHandle;
use crate::server::{Control, Server};
use crate::worker::Host;

/// A server on the process's own standard input and output, for
/// [`Machine::prepare`](crate::Machine::prepare).
///
/// It has one client ([`Remote::Stdio`]), from the start of the machine to the end of stdin, which
/// ends the server. Only one in a process; nothing else should read stdin or write to stdout
/// meanwhile. On Unix a stop takes effect at once with stdin idle.
///
/// A write to a closed pipe is an error, as Rust programs ignore SIGPIPE. One that has given it its
/// default effect back ends there, as filters do.
#[must_use = "a server does nothing until it is prepared on a machine"]
pub struct StdioServer<F> {
    factory: F,
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> StdioServer<F> {
    /// `factory` makes the one adapter, on the client's thread.
    pub fn new(factory: F) -> StdioServer<F> {
        StdioServer { factory }
    }
}

impl<A: Adapter, F: Fn() -> A + Send + Sync + 'static> Server for StdioServer<F> {
    type Handle = ServerHandle;

    fn prepare(self, control: Control) -> io::Result<ServerHandle> {
        let taken = Taken::take().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                "there is a stdio server in this process already; stop it first",
            )
        })?;
        control.set_name("stdio");
        let engine = control.engine();
        let (pool, threads) = (Arc::clone(&engine.pool), Arc::clone(&engine.threads));
        let core = Arc::clone(control.core());
        let host = Arc::new(Host::new(Arc::clone(&core), pool, threads, self.factory, None));
        let link = StdioLink::new(Arc::clone(&engine.watcher))?;
        control.spawn("stdio", move || {
            // The client's own thread: there is but one.
            if let Some(seat) = core.seat() {
                host.admit(seat, move || (Arc::new(link) as Arc<dyn Link>, Remote::Stdio)).run();
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

/// The process's standard input and output, taken.
struct Taken;

/// Set and cleared by [`Taken`] alone.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Taken {
    fn take() -> Option<Taken> {
        // Made only if it is ours: its drop gives it back.
        (!TAKEN.swap(true, Ordering::AcqRel)).then(|| Taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}
