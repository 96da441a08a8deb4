//! [`Control`]: the functions of the machine that a server may use. [`StopHook`]: a function that can be taken
//! back.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

use crossbeam_channel::Receiver;

use crate::catch_panic::catch_panic;
use crate::logging::{error, Escaped};
use crate::reactor::Reactor;
use crate::server::handle::ServerHandle;
use crate::server::permit::ActiveGuard;
use crate::server::state::ServerState;
use crate::threads::pool::Pool;
use crate::threads::MachineThreads;

/// The parts of a machine that its servers share.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) threads: Arc<MachineThreads>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) reactor: Arc<Reactor>,
}

impl Engine {
    pub(crate) fn new(threads: Arc<MachineThreads>) -> Engine {
        let pool = Pool::new(Arc::clone(&threads));
        let reactor = Arc::new(Reactor::new(Arc::clone(&threads)));
        Engine { threads, pool, reactor }
    }
}

/// The functions of the machine that a [`Server`](crate::Server) may use. No method blocks.
///
/// It can be cloned for the threads of the server. A clone does not keep the server running. A server has
/// ended when every thread that it started with [`spawn`](Control::spawn) has ended.
#[derive(Clone)]
pub struct Control {
    state: Arc<ServerState>,
    engine: Engine,
}

impl Control {
    pub(crate) fn new(state: Arc<ServerState>, engine: Engine) -> Control {
        Control { state, engine }
    }

    /// Starts a thread of the server, with the name `backport-{name}`. If the machine does not run yet, the
    /// thread starts when the machine runs.
    ///
    /// When the machine stops, it waits for the thread. A panic ends the thread and is logged.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - The error of the operating system if the thread cannot be started. If that happens later, when the
    ///   machine begins to run, it is the error of `run`.
    /// - An error of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if the name contains a NUL byte.
    /// - An error of kind [`Other`](io::ErrorKind::Other) if the server is stopping, drains or has ended.
    pub fn spawn(&self, name: impl AsRef<str>, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if name.as_ref().contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name of a thread must not contain a NUL byte",
            ));
        }
        let guard = self.guard()?;
        self.engine.threads.spawn_user_code(format!("backport-{}", name.as_ref()), move || {
            let _guard = guard;
            f();
        })
    }

    /// Starts a thread of the server like [`spawn`](Control::spawn), with this stack size. The thread runs code
    /// of this crate, and says itself when it runs user code.
    pub(crate) fn spawn_own(
        &self,
        name: impl fmt::Display,
        stack: Option<usize>,
        f: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let guard = self.guard()?;
        self.engine.threads.spawn(format!("backport-{name}"), stack, false, move || {
            let _guard = guard;
            if let Err(message) = catch_panic(f) {
                error!("a thread panicked: {}", Escaped(message));
            }
        })
    }

    fn guard(&self) -> io::Result<ActiveGuard> {
        ActiveGuard::take(&self.state).ok_or_else(|| io::Error::other("the server is stopping"))
    }

    /// Returns a channel that is disconnected when the server is asked to stop or to drain. No message is
    /// ever sent on it.
    ///
    /// Use it in a `select!`, or in a `recv` that waits only for the stop. If the machine does not run yet,
    /// the channel is disconnected when it does.
    #[must_use]
    pub fn stopping(&self) -> Receiver<()> {
        self.state.stopping()
    }

    /// Returns `true` if the server was asked to stop or to drain, or has ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state.is_stopping()
    }

    /// Calls `f` once when the server is asked to stop or to drain, or has ended. If the server is already
    /// stopping, calls `f` at once.
    ///
    /// Use it to wake a thread of the server, for example by shutting down the socket in which the thread
    /// blocks. `f` runs on the thread that is in [`Machine::run`](crate::Machine::run), and must not block. If the
    /// machine never runs, `f` runs on the thread that stops or drops it. A panic of `f` is logged.
    ///
    /// [`StopHook::cancel`] takes `f` back, for example when the thread ends by itself. If the returned value is
    /// dropped, `f` stays.
    pub fn on_stop(&self, f: impl FnOnce() + Send + 'static) -> StopHook {
        let number = self.state.on_stop(f);
        StopHook { number, server: Arc::downgrade(&self.state) }
    }

    /// Asks this server to stop, like [`ServerHandle::stop`]. Returns at once.
    pub fn stop(&self) {
        self.state.request_stop();
    }

    /// Returns the handle of the server, like [`Machine::servers`](crate::Machine::servers).
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.state))
    }

    /// Sets the name of the server, for the log and for [`ServerHandle::name`].
    pub fn set_name(&self, name: impl Into<String>) {
        self.state.set_name(name.into());
    }

    pub(crate) fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// A function that [`Control::on_stop`] has registered. Dropping this value leaves the function registered.
pub struct StopHook {
    /// `None` if the function was called at once.
    number: Option<u64>,
    server: Weak<ServerState>,
}

impl StopHook {
    /// Takes the function back and drops it on this thread. Does not block, and leaves no memory behind.
    ///
    /// If the stop has already begun, the function may have run, or it may be running now. Then this does
    /// nothing.
    pub fn cancel(self) {
        if let (Some(number), Some(server)) = (self.number, self.server.upgrade()) {
            server.cancel_hook(number);
        }
    }
}

impl fmt::Debug for StopHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopHook").finish_non_exhaustive()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("server", &self.state.name()).finish()
    }
}
