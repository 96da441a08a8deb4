//! Servers: TCP, standard input and output, servers of your own, and embedding.
//!
//! # TCP
//!
//! [`Machine::prepare_tcp_server`] listens on every address that a name resolves to, on one port.
//! [`TcpServer`] has a method for each [setting](super::limits). It can also [take a
//! listener](crate::TcpServer::from_listener) that is already bound.
//!
//! ```
//! use std::time::Duration;
//! use backport::{receiving, Machine, TcpServer};
//!
//! # fn main() -> backport::Result {
//! let machine = Machine::new();
//! let echo = || receiving(|client, data| Ok(client.write(data)?));
//! let server = TcpServer::new("localhost:0", echo)
//!     .max_clients(100)
//!     .idle_timeout(Duration::from_secs(300));
//! let handle = machine.prepare(server)?;
//! assert_ne!(handle.local_addr().port(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! The handle has these methods, among others:
//!
//! - [`clients`](crate::ServerHandle::clients) lists the clients, and [`client`](crate::ServerHandle::client)
//!   finds one by its number.
//! - [`broadcast`](crate::ServerHandle::broadcast) sends data to all clients and waits for none of them.
//! - [`suspend`](crate::ServerHandle::suspend) stops accepting clients until
//!   [`resume`](crate::ServerHandle::resume).
//! - [`stop`](crate::ServerHandle::stop) stops this server alone. [`drain`](crate::ServerHandle::drain)
//!   closes only its listeners, for a [restart](super::stopping#a-restart).
//! - [`stats`](crate::ServerHandle::stats) returns counts of clients, bytes and failures.
//!
//! # Standard input and output
//!
//! A [`StdioServer`] has one client: the program that started this process. The end of standard input ends
//! the server. A process can have only one stdio server at a time. While it runs, no other code of the
//! process should read standard input or write to standard output.
//!
//! ```no_run
//! use backport::{receiving, Backport};
//!
//! fn main() -> backport::Result {
//!     Backport::run(|machine| {
//!         machine.prepare_stdio_server(|| receiving(|client, data| Ok(client.write(data)?)))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # A server inside another program
//!
//! [`Backport::run`] blocks its thread and handles signals. [`Machine::start`] does neither: it runs the
//! machine on another thread and returns at once. It returns a [`Running`], which stops the machine when it
//! is dropped. The example `embedded` has its own main loop.
//!
//! # Your own server
//!
//! A machine runs every type that implements [`Server`]: for example a UDP server, a serial port or a file
//! watcher. A server gets a [`Control`], with which it starts its threads and learns when to stop. The
//! documentation of [`Server`] and the example `udp` show complete servers.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Control`]: crate::Control
//! [`Machine`]: crate::Machine
//! [`Machine::prepare_tcp_server`]: crate::Machine::prepare_tcp_server
//! [`Machine::start`]: crate::Machine::start
//! [`Running`]: crate::Running
//! [`Server`]: crate::Server
//! [`StdioServer`]: crate::StdioServer
//! [`TcpServer`]: crate::TcpServer
