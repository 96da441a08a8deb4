//! Errors and logging: errors and panics, and the messages in the log.
//!
//! # Errors of callbacks
//!
//! Callbacks return [`Result`], so `?` works on any error. An error ends that client alone. The reason
//! that `closing` gets tells the cases apart:
//!
//! | event | reason | log level |
//! |---|---|---|
//! | a callback returned an error | [`Failed`] | warn |
//! | a callback returned an I/O error that only says that the peer went away | [`Lost`], or an earlier reason | debug |
//! | a callback panicked | [`Panicked`] | error |
//! | the peer ended its output | [`ByPeer`] | debug |
//!
//! [`Closing`](crate::Closing) lists all reasons. If the factory panics, the client is closed without
//! `opening` and `closing`. With `panic = "abort"` in the profile, a panic still ends the process.
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
//! [`Backport::run`](crate::Backport::run) returns the error of your setup, or an [`Error`] in a box.
//! `error.downcast_ref::<backport::Error>()` tells the cases apart. Errors about an address name the
//! address. Errors about a limit name the limit.
//!
//! # The log
//!
//! The crate prints nothing. Messages go to the [`log`](https://docs.rs/log) crate with the target
//! `backport`, and to the logger that your program installs:
//!
//! | level | messages |
//! |---|---|
//! | error | panics, threads that are lost or stuck, servers that failed |
//! | warn | clients that failed or were refused, accept errors, servers that are full |
//! | info | servers and machines that start and stop |
//! | debug | each client |
//! | trace | each read |
//!
//! The examples use `env_logger`: `RUST_LOG=debug cargo run --example chat`. Text that came from a peer
//! is escaped, also inside an error message of yours, so a peer cannot forge a line.
//!
//! # No client waits for the logger
//!
//! A thread of its own, `backport-log`, calls the logger and keeps the order of the records. A logger
//! that blocks, is slow or panics delays no client.
//!
//! - The thread starts with the first record. It ends after a second without one, or when `run` returns.
//! - If more than 1 MiB of records wait, new ones are dropped. A warning says how many.
//! - When `run` returns, all earlier records have been logged. The exception is a logger that needs more
//!   than a second for one record, or for all that are left.
//! - A logger may call this crate. Records of the crate about that call are dropped, because they would
//!   never end.
//! - If no thread can be started, the thread that has a record calls the logger itself.
//! - A process that ends by `exit` may lose the last records.
//!
//! [`Result`]: crate::Result
//! [`Error`]: crate::Error
//! [`Failed`]: crate::Closing::Failed
//! [`Lost`]: crate::Closing::Lost
//! [`Panicked`]: crate::Closing::Panicked
//! [`ByPeer`]: crate::Closing::ByPeer
