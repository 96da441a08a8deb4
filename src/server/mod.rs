//! Servers: a machine runs them.
//!
//! - [`Server`] is the trait that anyone can implement. [`control`] is what a server may ask of its machine,
//!   and [`handle`] is what the user gets of it.
//! - [`state`] is the state of one server, and [`permit`] the guards that keep it from ending.
//! - [`acceptor`] is the thread that accepts from a [`listener`]. [`notify`] is where it waits while it may
//!   not accept, and [`accept_error`] sorts its errors.
//! - [`session`] is the life of one client, and [`upgrade`] the steps before `opening`.
//! - [`tcp`] and [`stdio`] are the servers that the crate provides.

pub(crate) mod accept_error;
pub(crate) mod acceptor;
pub(crate) mod control;
pub(crate) mod handle;
pub(crate) mod listener;
pub(crate) mod notify;
pub(crate) mod permit;
pub(crate) mod session;
pub(crate) mod state;
pub(crate) mod stdio;
pub(crate) mod tcp;
pub(crate) mod upgrade;

use std::io;

use crate::server::control::Control;

/// A machine runs servers. Implement this trait for one of your own: on a UDP socket, on a serial port, or
/// with a file watcher.
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
///         // A datagram to itself ends the wait of the thread.
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

    /// Prepares the server: binds its sockets, so that errors show at once, and starts its threads with
    /// [`Control::spawn`]. Called once, on the thread that calls `Machine::prepare`.
    ///
    /// The server ends when its last thread ends. If it has started none, it has ended already.
    ///
    /// # Errors
    /// Any error that keeps the server from running. `Machine::prepare` returns it.
    fn prepare(self, control: Control) -> io::Result<Self::Handle>;
}
