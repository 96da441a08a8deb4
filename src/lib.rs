//! Simple network servers without async: one type to implement, a thread for each client.
//!
//! # A server
//!
//! An [`Adapter`] says what to do with one client. A [`Machine`] is given servers, each with a factory
//! that makes such adapters, and runs them until it is told to stop.
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
//!         client.write(b"Client sent: ")?;
//!         client.write(data)?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let server = machine.prepare_tcp_server("localhost:0", || Echo)?; // 0: a port that is free
//! let running = machine.start()?;
//!
//! let mut peer = TcpStream::connect(server.local_addr())?;
//! peer.write_all(b"hi")?;
//! peer.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! peer.read_to_string(&mut reply)?;
//! assert_eq!(reply, "Client sent: hi");
//!
//! running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! - A program that is a server and nothing else calls [`Backport::run`], which stops at Ctrl-C.
//! - [`TcpServer`] is for settings beyond the address. [`StdioServer`] serves the process's own
//!   standard input and output. With [`Server`], anything else can be run by the machine: a UDP
//!   socket, a serial port.
//! - [`receiving`] makes an adapter from a closure, and a `Box<dyn Adapter>` is one too.
//! - Where `receiving` would be a state machine, [`Adapter::serving`] is handed an [`Input`], which is
//!   a [`BufRead`](std::io::BufRead), and holds the conversation in one function. Libraries that read
//!   and write one stream, such as `tungstenite` for WebSocket, get [`Input::stream`].
//! - [`framing`] turns bytes into messages: lines, or frames that say how long they are.
//! - [`Machine::prepare_interval`] and [`Machine::prepare_timeout`] do things in time.
//! - [`testing`] connects an adapter to a client in memory, and moves the clock of intervals by hand.
//!
//! # Threads
//!
//! The factory and an adapter's callbacks run on one thread, that client's own, in order; hence an
//! adapter is `Send` and needs no `Sync`, and its fields need no lock. It may block there for as long
//! as it likes, at the cost of its own client. The crate holds none of its locks meanwhile, so every
//! method of it may be called from every callback.
//!
//! The others: each address that a server listens on has a thread that accepts. All intervals of a
//! machine share one, where a slow job delays the next. One more watches the sockets of clients that
//! read slowly. Another one calls the logger, while there is something to log. `run` itself only waits
//! for what ends the machine. A thread's name tells what it does: `backport-acceptor-0`,
//! `backport-worker-7`.
//!
//! What several clients share goes where Rust puts it, behind an `Arc` and a `Mutex` that the factory
//! clones. Don't write to a client while you hold such a lock, since that may wait for the peer:
//! collect first, or [`post`](Client::post).
//!
//! # Writing from other threads
//!
//! A [`Client`] is a handle: cloneable, `Send`, `Sync`. Hand it to a thread that computes the answer,
//! keep it in a list, or ask the server for all of them.
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpStream;
//! use std::thread;
//! use backport::{Machine, Result};
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let server = machine.prepare_tcp_server("localhost:0", || {
//!     backport::receiving(|client, _| {
//!         let client = client.clone();
//!         thread::spawn(move || client.write_line("from another thread"));
//!         Ok(())
//!     })
//! })?;
//! let running = machine.start()?;
//!
//! let mut peer = BufReader::new(TcpStream::connect(server.local_addr())?);
//! peer.get_mut().write_all(b"go")?;
//! let mut line = String::new();
//! peer.read_line(&mut line)?;
//! assert_eq!(line, "from another thread\n");
//!
//! assert_eq!(server.broadcast("to all of you\n"), 1);
//! line.clear();
//! peer.read_line(&mut line)?;
//! assert_eq!(line, "to all of you\n");
//! # running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`write`](Client::write) returns when the kernel has taken everything, and so slows its caller down
//! to the pace of the peer; [`post`](Client::post) returns at once and lets the rest wait, up to a
//! limit. Either sends its bytes as one record, with nobody else's in between, and both keep one order.
//! After [`close`](Client::close) the peer still gets what was written before it.
//!
//! # Stopping
//!
//! [`Machine::stop`] may be called anywhere and doesn't wait; whoever is in [`Machine::run`], or in
//! [`Running::join`], learns when all is over. [What happens in between](Machine#stopping) leaves every
//! adapter its [`closing`](Adapter::closing) and every peer its last bytes. It doesn't take long:
//! nothing has to come to its time-out first, be it a thousand silent clients or an interval of a day.
//!
//! Code of yours that doesn't return is the exception. It gets the
//! [drain timeout](Machine::set_drain_timeout), then `run` gives up on it with [`Error::Stuck`], and the
//! thread is left behind. To have a long computation end in time, ask
//! [`Client::is_closed`] now and then.
//!
//! ```
//! use std::time::Duration;
//! use backport::{Machine, Result};
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! machine.prepare_tcp_server("localhost:0", || backport::receiving(|_, _| Ok(())))?;
//! let last_orders = machine.clone();
//! machine.prepare_timeout(Duration::from_millis(10), move || last_orders.stop());
//! machine.run()?; // until then
//! assert!(machine.is_stopped());
//! # Ok(())
//! # }
//! ```
//!
//! # Errors and logging
//!
//! Callbacks return [`Result`], whose error is any error. It ends one connection, and comes back as the
//! reason in `closing`: [`Closing::Failed`], or [`Closing::Lost`] if it only says that the peer has gone
//! away. A panic becomes [`Closing::Panicked`]. (With `panic = "abort"` in the profile it still
//! ends the process.) The errors that `run` returns are an [`Error`] in a box, or come from your setup.
//!
//! What happens unseen is said to the [`log`](https://docs.rs/log) crate, target `backport`. Nothing
//! is ever printed. Quoted text from a peer, such as an error message of yours that contains it, is
//! escaped and can't forge a line.
//!
//! The logger is called on a thread of its own, `backport-log`, which the first record starts and which
//! leaves after a second without one, or when `run` returns. So the logger may block, be slow or panic
//! at nobody's expense. Records keep their order. Those that find more than 1 MiB waiting are dropped,
//! and a warning says how many. By the time that `run` returns everything is logged that was said before,
//! unless the logger takes more than a second for one record, or for all that is left. A logger may call
//! this crate; what that has to say to the log itself is dropped, or it would have no end. Where no more
//! threads can be started, the thread that has something to say calls the logger itself.
//!
//! # Limits
//!
//! Memory for each client is bounded: what it sends is read as the adapter takes it, and what waits to
//! be sent to it has [a limit](TcpServer::max_backlog). So is their
//! [number](TcpServer::max_clients). Only idle peers are free to stay, unless
//! [`idle_timeout`](TcpServer::idle_timeout) says for how long.
//!
//! Before you raise `max_clients` far: a thread takes four memory mappings or so, and Linux grants a
//! process 65,530 of them (`vm.max_map_count`), which is enough for about 16,000 threads. Starting one
//! more can abort the process. `kernel.threads-max`, the pids limit of a container and the number of
//! open files (`ulimit -n`, one for each client) may come first; a client whose thread can't be
//! started is refused, and running out of files makes the acceptor wait.
//!
//! What no library survives: a stack that overflows, memory that can't be had (Rust aborts), and a
//! panic in a drop while another panic unwinds. Each ends the process.
//!
//! # Coming from the gem
//!
//! The gem's words mean what they mean there, `Adapter`, `Client`, `opening`, `receiving`, `closing`,
//! `remote`, `write_line`, `prepare_tcp_server`, with these differences:
//!
//! - A client is an argument of the callbacks, and the adapter a value instead of an extended module.
//! - `receiving` takes `&[u8]`: whatever has arrived, in place of a String cut at 255 bytes. Neither
//!   knows of lines; [`framing`] does.
//! - `closing` has a reason, and comes once, also after `close`.
//! - `opening` may take its time: it doesn't run on the thread that accepts.
//! - An exception there is an error or a panic here, and costs one client; it neither leaks it nor
//!   stops the server.
//! - [`Client::remote`] is the other side's address.
//! - The end of standard input ends its server, and with it a machine that has no other. Nothing
//!   prepared: `run` returns.
//! - `stop` reaches every server and client, and Ctrl-C is a `stop`.
//! - Intervals keep to the clock. Writes of several threads stay apart. Nothing polls.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(all(test, shuttle), allow(dead_code, reason = "the model uses its part of it"))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::exit))]

mod adapter;
mod backport;
mod catch_panic;
mod client;
mod closing;
mod error;
mod event;
mod frame;
mod input;
mod limits;
mod logging;
mod machine;
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
mod transport;

pub use crate::adapter::{receiving, Adapter};
pub use crate::backport::Backport;
pub use crate::client::cork::Corked;
pub use crate::client::id::ClientId;
pub use crate::client::Client;
pub use crate::closing::Closing;
pub use crate::error::{BoxError, Error, Result};
pub use crate::input::stream::Stream;
pub use crate::input::Input;
pub use crate::machine::running::Running;
pub use crate::machine::Machine;
pub use crate::remote::Remote;
pub use crate::scheduler::interval::Interval;
pub use crate::server::control::Control;
pub use crate::server::handle::ServerHandle;
pub use crate::server::stdio::StdioServer;
pub use crate::server::tcp::{TcpHandle, TcpServer};
pub use crate::server::Server;
pub use crate::stats::{ClientStats, MachineStats, ServerStats};

pub mod framing {
    //! Frames instead of chunks: what a protocol's messages look like on the wire.
    //!
    //! The kernel gives bytes as they come; a [`Framing`] cuts them into messages, and puts messages
    //! into bytes. [`Lines`], [`Delimited`], [`LengthPrefixed`] and [`ContentLength`] are here; your own
    //! takes ten lines. Use one in any of three places:
    //!
    //! - [`Adapter::framed`](crate::Adapter::framed): `receiving` gets a frame a call. With
    //!   [`gathering`](Framed::gathering) behind it, the replies to one chunk go out in one piece.
    //! - [`Input::frame`](crate::Input::frame): the next frame, in straight-line code; the framing may
    //!   change from one frame to the next.
    //! - [`Client::write_frame`](crate::Client::write_frame): one frame, in one record.
    //!
    //! ```
    //! use backport::framing::Lines;
    //! use backport::{Adapter, Client, Machine, Result};
    //!
    //! struct Calculator;
    //!
    //! impl Adapter for Calculator {
    //!     fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
    //!         let sum: i64 = std::str::from_utf8(line)?.split('+').map(|n| n.trim().parse::<i64>()).sum::<std::result::Result<_, _>>()?;
    //!         Ok(client.write_line(sum.to_string())?)
    //!     }
    //! }
    //!
    //! # fn main() -> Result {
    //! let machine = Machine::new();
    //! machine.prepare_tcp_server("localhost:0", || Calculator.framed(Lines::default()))?;
    //! # Ok(())
    //! # }
    //! ```
    //!
    //! Every framing has a limit, which bounds the memory that one peer can make the server use; a
    //! frame over it is [`FrameError::TooLong`].

    pub use crate::adapter::framed::Framed;
    pub use crate::frame::content_length::ContentLength;
    pub use crate::frame::delimited::Delimited;
    pub use crate::frame::length_prefixed::{Endian, LengthPrefixed};
    pub use crate::frame::lines::Lines;
    pub use crate::frame::{Frame, FrameError, Framing};
}

/// The README's programs are compiled as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
