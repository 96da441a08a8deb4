//! Servers, which a machine runs.
//!
//! - [`Server`] is the trait of all servers, which users can also implement. [`control`] has the functions of
//!   the machine that a server may use, and [`handle`] is the handle that users get.
//! - [`state`] is the state of one server, and [`permit`] has the guards that keep the server from ending.
//! - [`acceptor`] is the thread that accepts from a [`listener`]. It waits in [`notify`] while it may not
//!   accept. [`accept_error`] groups the errors of accepting, and [`full`] has the connections that a full
//!   server refuses.
//! - [`session`] is the life of one client, and [`upgrade`] has the steps before `opening`. [`proxy`] is the step
//!   that finds out the client behind a proxy, and `tls` is the step that encrypts.
//! - [`settings`] has the settings that servers with a listener share, and starts their acceptors.
//! - [`tcp`], `unix`, [`stdio`] and [`outgoing`] are the servers that the crate provides. [`connected`] serves
//!   one connection that the user has made.

pub(crate) mod accept_error;
pub(crate) mod acceptor;
pub(crate) mod connected;
pub(crate) mod control;
mod counters;
pub(crate) mod full;
pub(crate) mod handle;
pub(crate) mod listener;
pub(crate) mod notify;
pub(crate) mod outgoing;
pub(crate) mod permit;
pub(crate) mod proxy;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod stdio;
mod stop_stage;
pub(crate) mod tcp;
pub(crate) mod threads;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod upgrade;

use std::io;

use crate::server::control::Control;

/// A server that a machine can run. Implement this trait to write your own kind of server, for example for
/// UDP, for a serial port or for a file watcher.
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
///         // The server wakes its thread by sending a datagram to itself.
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
    /// The value that [`Machine::prepare`](crate::Machine::prepare) returns to the user.
    type Handle;

    /// Prepares the server. This method should bind the sockets, so that errors are reported at once, and
    /// start the threads with [`Control::spawn`]. It is called once, on the thread that calls
    /// `Machine::prepare`.
    ///
    /// The server ends when its last thread ends. A server that starts no thread ends when this method
    /// returns.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`] if the server cannot run. `Machine::prepare` returns the same error.
    fn prepare(self, control: Control) -> io::Result<Self::Handle>;
}
