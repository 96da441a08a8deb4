//! Servers: what a machine runs.
//!
//! - [`Server`] is what anyone can implement, [`Control`] what it may ask of its machine.
//! - [`core`] is the state of one server: its clients, its end. [`handle`] shows it to the user.
//! - [`acceptor`] is the thread that accepts, [`listen`] what it accepts from, and [`door`] how it
//!   waits there; [`bell`] is what it waits for while it may not accept.
//! - [`tcp`] and [`stdio`] are the servers that the crate brings.

pub(crate) mod accept_error;
pub(crate) mod acceptor;
pub(crate) mod bell;
pub(crate) mod core;
pub(crate) mod door;
pub(crate) mod handle;
pub(crate) mod listen;
pub(crate) mod stdio;
pub(crate) mod tcp;

use std::fmt;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::link::watcher::Watcher;
use crate::pool::Pool;
use crate::server::core::ServerCore;
use crate::server::handle::ServerHandle;
use crate::threads::Threads;

/// Something that a machine runs: bring your own for a UDP socket, a serial port, a file watcher.
///
/// ```
/// use std::{io, net::UdpSocket, sync::Arc};
/// use backport::{Control, Machine, Server};
///
/// /// Sends each datagram back.
/// struct UdpEcho(&'static str);
///
/// impl Server for UdpEcho {
///     type Handle = Arc<UdpSocket>;
///
///     fn prepare(self, control: Control) -> io::Result<Arc<UdpSocket>> {
///         let socket = Arc::new(UdpSocket::bind(self.0)?);
///         let (echo, at_stop) = (socket.clone(), socket.clone());
///         let stopping = control.clone();
///         control.spawn("udp", move || {
///             let mut buffer = [0; 1500];
///             while let Ok((size, peer)) = echo.recv_from(&mut buffer) {
///                 if stopping.is_stopping() || echo.send_to(&buffer[..size], peer).is_err() {
///                     break;
///                 }
///             }
///         })?;
///         // A datagram to itself gets the thread out of its wait.
///         control.on_stop(move || {
///             if let Ok(address) = at_stop.local_addr() {
///                 let _ = at_stop.send_to(&[], address);
///             }
///         });
///         Ok(socket)
///     }
/// }
///
/// # fn main() -> backport::Result {
/// let machine = Machine::new();
/// let socket = machine.prepare(UdpEcho("127.0.0.1:0"))?;
/// let running = machine.start()?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"ping", socket.local_addr()?)?;
/// let mut buffer = [0; 16];
/// assert_eq!(client.recv(&mut buffer)?, 4);
/// running.stop()?;
/// # Ok(())
/// # }
/// ```
pub trait Server: Send + 'static {
    /// What [`Machine::prepare`](crate::Machine::prepare) gives to the user.
    type Handle;

    /// Makes ready: binds what has to be bound, so that errors show at once, and asks for the
    /// threads that it needs with [`Control::spawn`]. Called once, on the thread that prepares.
    ///
    /// The server ends when its last thread does; one that asks for none has ended already.
    ///
    /// # Errors
    /// Whatever keeps the server from running; it is the error of `Machine::prepare`.
    fn prepare(self, control: Control) -> io::Result<Self::Handle>;
}

/// What a machine's servers share.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) threads: Arc<Threads>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) watcher: Arc<Watcher>,
}

/// What a [`Server`](crate::Server) asks of the machine that it was prepared on.
///
/// Cloneable, for the threads that it starts. Holding one does not keep the server: a server has
/// ended when every thread started with [`spawn`](Control::spawn) has.
#[derive(Clone)]
pub struct Control {
    core: Arc<ServerCore>,
    engine: Engine,
}

impl Control {
    pub(crate) fn new(core: Arc<ServerCore>, engine: Engine) -> Control {
        Control { core, engine }
    }

    /// Starts a thread of the server's, named `backport-{name}`: at once if the machine runs, else
    /// when it does. The machine waits for it when it stops; a panic in it is logged and ends it.
    ///
    /// # Errors
    /// If the thread can't be started, its name has a NUL byte in it, or the server is stopping or
    /// has ended. (A thread that can't be started later, when the machine begins to run, is an error
    /// of `run`.)
    pub fn spawn(&self, name: impl AsRef<str>, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if name.as_ref().contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a thread's name can't have NUL in it"));
        }
        let presence = self.core.enter().ok_or_else(|| io::Error::other("the server is stopping"))?;
        self.engine.threads.spawn(format!("backport-{}", name.as_ref()), None, move || {
            let _presence = presence;
            f();
        })
    }

    /// Disconnects when the server shall stop; nothing is ever sent. For `select!`, or a `recv`
    /// that waits for nothing else.
    #[must_use]
    pub fn stopping(&self) -> Receiver<()> {
        self.core.stopping()
    }

    /// Whether the server shall stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.core.is_stopping()
    }

    /// Calls `f` once when the server shall stop or has ended, on the thread that stops it: to shut
    /// a socket down, or wake a poll, that a thread of the server blocks in. It must not block. At
    /// once if the server is stopping already.
    pub fn on_stop(&self, f: impl FnOnce() + Send + 'static) {
        self.core.on_stop(f);
    }

    /// Asks this server to stop, as [`ServerHandle::stop`] does. Returns at once.
    pub fn stop(&self) {
        self.core.stop();
    }

    /// The handle of the server, as [`Machine::servers`](crate::Machine::servers) gives it.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.core))
    }

    /// Calls this server `name` in the log and in [`ServerHandle::name`].
    pub fn set_name(&self, name: impl Into<String>) {
        self.core.set_name(name.into());
    }

    pub(crate) fn core(&self) -> &Arc<ServerCore> {
        &self.core
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("server", &self.core.name()).finish()
    }
}
