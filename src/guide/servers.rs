//! Servers: TCP, standard input and output, servers of your own, and embedding.
//!
//! # TCP
//!
//! [`Machine::prepare_tcp_server`] listens on every address that a name resolves to, on one port.
//! [`TcpServer`] adds [settings](super::limits). It can also [take a
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
//! The handle can list the [`clients`](crate::ServerHandle::clients),
//! [`broadcast`](crate::ServerHandle::broadcast) to them without waiting for any,
//! [`suspend`](crate::ServerHandle::suspend) accepting, and [`stop`](crate::ServerHandle::stop) this
//! server alone. It also counts clients, bytes and failures in [`stats`](crate::ServerHandle::stats).
//!
//! # Standard input and output
//!
//! A [`StdioServer`] has one client: the program that started this process. The end of standard input
//! ends the server. A process can have one stdio server at a time, and nothing else should read its
//! standard input or write to its standard output.
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
//! [`Backport::run`] takes the main thread and handles signals. A [`Machine`] does neither:
//! [`Machine::start`] returns at once and leaves the program's signals alone. The value that it returns,
//! [`Running`], stops the machine when it drops. The example `embedded` has a main loop of its own.
//!
//! # Your own server
//!
//! A machine runs everything that implements [`Server`]: a UDP socket, a serial port, a file watcher. A
//! server starts its threads with its [`Control`], which also tells it when to stop. The documentation of
//! [`Server`] and the example `udp` have programs.
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
