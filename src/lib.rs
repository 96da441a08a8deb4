//! Simple network servers without async. You implement one type, and each client is served on its own thread.
//!
//! An [`Adapter`] is your code that serves one client. A [`Machine`] runs servers and stops them. Each server
//! has a factory: a closure that makes one adapter for each client.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use backport::{Adapter, Client, Machine, Result};
//!
//! struct Echo;
//!
//! impl Adapter for Echo {
//!     fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
//!         client.write(data)?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let server = machine.prepare_tcp_server("localhost:0", || Echo)?; // port 0: any free port
//! let running = machine.start()?;
//!
//! let mut peer = TcpStream::connect(server.local_addr())?;
//! peer.write_all(b"hi")?;
//! peer.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! peer.read_to_string(&mut reply)?;
//! assert_eq!(reply, "hi");
//!
//! running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that is only a server calls [`Backport::run`] instead, which also stops the server at Ctrl-C.
//!
//! # Threads
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `backport-worker-7` | one per client of a listener or of [`Machine::serve`] | calls the factory and the adapter |
//! | `backport-stdio` | one per [`StdioServer`] | calls the factory and the adapter of its only client |
//! | `backport-client-0` | one per [`TcpClient`] | connects, and calls the factory and the adapter |
//! | `backport-resolver` | while a [`TcpClient`] looks up a host name | asks the system; a stop does not wait for it |
//! | `backport-acceptor-0` | one per address of a server | accepts clients, and never runs your code |
//! | `backport-scheduler` | one per machine | runs the jobs of all intervals and timeouts |
//! | `backport-reactor` | one per machine, but none on Windows | watches the sockets of clients that read slowly |
//! | `backport-std-streams` | for a moment, when a [`StdioServer`] starts and ends | flushes `stdout` |
//! | `backport-log` | one per process | calls the logger |
//!
//! The thread that calls [`Machine::run`] only waits until the machine has stopped. The callbacks of one
//! adapter run one after another. Therefore an adapter must be [`Send`] but need not be [`Sync`], and its
//! fields need no lock. A callback that blocks delays only its own client. The crate holds none of its locks
//! during a callback, so a callback may write to any client, close it, and stop the machine.
//!
//! # Writing from other threads
//!
//! A [`Client`] is a handle that any thread may use. A [hold](Client::hold) is a handle that also keeps the
//! conversation open. Here another thread computes the answer, and the peer ends its output before that:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::thread;
//! use backport::{receiving, testing};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut client = testing::connect(receiving(|client, query| {
//!     let (reply, query) = (client.hold(), query.to_vec());
//!     thread::spawn(move || reply.write_line(format!("{} bytes", query.len())));
//!     Ok(())
//! }));
//! client.write_all(b"go")?;
//! client.close_write();
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "2 bytes\n");
//! # Ok(())
//! # }
//! ```
//!
//! # The guide
//!
//! The module [`guide`] has one page for each subject:
//!
//! - Writing a server: [`adapters`](guide::adapters), [`writing`](guide::writing),
//!   [`conversations`](guide::conversations), [`messages`](guide::messages), [`servers`](guide::servers),
//!   [`transports`](guide::transports), [`timers`](guide::timers).
//! - Running it: [`endings`](guide::endings), [`stopping`](guide::stopping), [`deadlines`](guide::deadlines),
//!   [`limits`](guide::limits), [`errors_and_logging`](guide::errors_and_logging),
//!   [`outgrowing`](guide::outgrowing), [`testing`](guide::testing), [`platforms`](guide::platforms).
//! - Background: [`comparison`](guide::comparison), [`from_the_gem`](guide::from_the_gem).

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(all(test, shuttle), allow(dead_code, reason = "the tests use only a part of it"))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod adapter;
mod backport;
mod catch_panic;
mod client;
mod closing;
mod crew;
mod error;
mod event;
mod frame;
pub mod framing;
pub mod guide;
mod input;
mod limits;
mod logging;
mod machine;
mod open_files;
mod reactor;
mod remote;
mod scheduler;
mod server;
#[cfg(all(test, shuttle))]
mod shuttle;
mod signal;
mod stats;
mod sync;
pub mod testing;
mod threads;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;

pub use crate::adapter::{receiving, Adapter};
pub use crate::backport::Backport;
pub use crate::client::cork::Corked;
pub use crate::client::group::Group;
pub use crate::client::hold::Hold;
pub use crate::client::id::ClientId;
pub use crate::client::Client;
pub use crate::closing::Closing;
pub use crate::error::{BoxError, Error, Result};
pub use crate::input::stream::Stream;
pub use crate::input::Input;
pub use crate::machine::running::Running;
pub use crate::machine::Machine;
#[cfg(unix)]
pub use crate::remote::Credentials;
pub use crate::remote::Remote;
pub use crate::scheduler::interval::Interval;
pub use crate::server::connected::Connected;
pub use crate::server::control::{Control, StopHook};
pub use crate::server::full::Full;
pub use crate::server::handle::ServerHandle;
pub use crate::server::outgoing::{ClientHandle, TcpClient};
pub use crate::server::stdio::StdioServer;
pub use crate::server::tcp::{TcpHandle, TcpServer};
pub use crate::server::threads::Threads;
#[cfg(unix)]
pub use crate::server::unix::{UnixHandle, UnixServer};
pub use crate::server::Server;
pub use crate::stats::{ClientStats, MachineStats, ServerStats};

/// The README's programs are compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
