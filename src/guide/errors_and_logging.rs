//! Errors, panics, the log, and the numbers of a machine.
//!
//! # Errors of callbacks
//!
//! Callbacks return [`Result`], so `?` works on any error. An error ends only the connection of that client.
//! The argument `reason` of `closing` says what happened:
//!
//! | event | reason | log level |
//! |---|---|---|
//! | a callback returned an error | [`Failed`] | warn |
//! | a callback returned an I/O error which means that the peer has disconnected | [`Lost`], or an earlier reason | debug |
//! | a callback panicked | [`Panicked`] | error |
//! | the peer reads too slowly | [`TooSlow`] | warn, at most once in 10 s for each server |
//! | the peer ended its output | [`ByPeer`] | debug |
//!
//! [`Closing`](crate::Closing) lists all reasons. If the factory panics, the client is closed, and `opening`
//! and `closing` are not called. If your Cargo profile has `panic = "abort"`, a panic ends the process as
//! usual.
//!
//! ```
//! use backport::{receiving, testing, Closing};
//! use std::io::Write;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut client = testing::connect(receiving(|_, data| {
//!     let number: i64 = std::str::from_utf8(data)?.trim().parse()?;
//!     println!("{number}");
//!     Ok(())
//! }));
//! client.write_all(b"not a number\n")?;
//! let Closing::Failed(error) = client.ended() else { panic!("it did not fail") };
//! assert!(error.is::<std::num::ParseIntError>());
//! # Ok(())
//! # }
//! ```
//!
//! # Errors of a machine
//!
//! [`Backport::run`](crate::Backport::run) returns the error of your setup closure, or a boxed [`Error`]. Use
//! `error.downcast_ref::<backport::Error>()` to find out which error it is. An error about an address names
//! the address, and an error about a limit names the limit. The documentation of [`Result`] shows a `main`
//! that prints an error as a sentence.
//!
//! A stdio server has only one conversation. If that conversation fails, the server has failed, and `run`
//! returns [`Error::Server`](crate::Error::Server) with the cause. [`StdioServer`](crate::StdioServer) lists
//! the reasons that count as a failure.
//!
//! # The log
//!
//! The crate prints nothing. Messages go to the [`log`](https://docs.rs/log) crate with the target
//! `backport`, and to the logger that your program installs:
//!
//! | level | messages |
//! |---|---|
//! | error | panics, threads that failed or are stuck, servers that failed |
//! | warn | clients that failed, read too slowly or were refused, output that was cut off, accept errors, servers that are full |
//! | info | servers and machines that start and stop |
//! | debug | each client |
//! | trace | each read |
//!
//! The examples use `env_logger`, so `RUST_LOG=debug cargo run --example chat` shows the messages. Text from
//! a peer is escaped, even if it is part of your own error message. Therefore a peer cannot forge a log line.
//!
//! # No client waits for the logger
//!
//! A separate thread, `backport-log`, calls the logger with the records in order. Therefore a logger that is
//! slow, blocks or panics delays no client.
//!
//! - The thread starts with the first record. It ends after a second without a record, or when `run` returns.
//! - If more than 1 MiB of records wait, new records are dropped. A warning says how many were dropped.
//! - When `run` returns, all earlier records have been logged. The exception is a logger that needs more than
//!   a second for one record, or for all records that are left.
//! - A logger may call this crate. Records that such a call causes are dropped, because each of them could
//!   cause the next one.
//! - If the thread `backport-log` cannot be started, the thread that logs a record calls the logger itself.
//! - A process that calls `std::process::exit` may lose the last records.
//!
//! # Watching a machine
//!
//! Statistics say what a machine does now. Any thread may read them at any time, and no call blocks:
//!
//! | question | answer |
//! |---|---|
//! | how many clients are there, and how much do they send? | [`ServerHandle::stats`], or [`Machine::stats`] for all servers |
//! | why did clients end? | the counters of [`ServerStats`], one for each reason |
//! | which clients are there? | [`Machine::servers`] and [`ServerHandle::clients`] |
//! | which client does not read? | [`ClientStats::backlog`] |
//! | which client sends nothing? | [`ClientStats::idle_for`] |
//! | which callback does not return? | [`ClientStats::in_callback_for`] |
//!
//! ```
//! use std::time::Duration;
//! use backport::Machine;
//!
//! # let machine = Machine::new();
//! # fn watch(machine: &Machine) {
//! let limit = Duration::from_secs(10);
//! for client in machine.servers().iter().flat_map(|server| server.clients()) {
//!     if client.stats().in_callback_for.is_some_and(|time| time > limit) {
//!         eprintln!("client {}, {}, is stuck", client.id(), client.remote());
//!     }
//! }
//! # }
//! # watch(&machine);
//! ```
//!
//! The example `examples/protocols/monitor` shows these numbers as a live page with a button that closes a client,
//! and as metrics for Prometheus at `/metrics`. You can copy its files into your program. It listens only on a
//! loopback address or on a Unix socket.
//!
//! [`ServerHandle::stats`]: crate::ServerHandle::stats
//! [`ServerHandle::clients`]: crate::ServerHandle::clients
//! [`ServerStats`]: crate::ServerStats
//! [`Machine::stats`]: crate::Machine::stats
//! [`Machine::servers`]: crate::Machine::servers
//! [`ClientStats::backlog`]: crate::ClientStats::backlog
//! [`ClientStats::idle_for`]: crate::ClientStats::idle_for
//! [`ClientStats::in_callback_for`]: crate::ClientStats::in_callback_for
//! [`Result`]: crate::Result
//! [`Error`]: crate::Error
//! [`Failed`]: crate::Closing::Failed
//! [`Lost`]: crate::Closing::Lost
//! [`Panicked`]: crate::Closing::Panicked
//! [`ByPeer`]: crate::Closing::ByPeer
//! [`TooSlow`]: crate::Closing::TooSlow
