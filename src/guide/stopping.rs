//! Stopping: the causes of a stop, its steps and its duration.
//!
//! # What starts a stop
//!
//! - [`Machine::stop`], from any thread or callback. It returns at once.
//! - The first Ctrl-C or SIGTERM, if the machine runs in [`Backport::run`]. [`Backport::stop`] does the
//!   same from code.
//! - The end of the last server. For example, a stdio server ends when standard input ends.
//! - The end of the last interval, if the machine never had a server.
//! - Dropping the last handle of the machine, or its [`Running`].
//!
//! # What happens during a stop
//!
//! 1. Listeners close. New clients are refused.
//! 2. Intervals and timeouts are cancelled.
//! 3. Each client is closed with the reason [`Stopping`](crate::Closing::Stopping). A callback that is
//!    already running finishes, and no further `receiving` starts.
//! 4. Each client's `closing` is called. It may write a goodbye.
//! 5. Output is delivered to each peer that reads, within [limits](super::limits#fixed-limits).
//! 6. All threads are joined.
//! 7. [`Machine::run`] and [`Running::join`] return.
//!
//! From step 3 on, only `closing` may write. All other writes fail with
//! [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), including the writes of a callback that is still running.
//! If a callback returns this error, the reason is still `Stopping`. If an answer must not be lost in a stop,
//! write it in `closing`.
//!
//! ```
//! use std::io::Read;
//! use std::net::TcpStream;
//! use backport::{Adapter, Client, Closing, Machine, Result};
//!
//! struct Polite;
//!
//! impl Adapter for Polite {
//!     fn opening(&mut self, client: &Client) -> Result {
//!         client.write_line("hello")?;
//!         Ok(())
//!     }
//!
//!     fn closing(&mut self, client: &Client, reason: &Closing) {
//!         if matches!(reason, Closing::Stopping) {
//!             // This fails only if the peer has already disconnected.
//!             let _ = client.write_line("goodbye");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let server = machine.prepare_tcp_server("localhost:0", || Polite)?;
//! let running = machine.start()?;
//!
//! let mut peer = TcpStream::connect(server.local_addr())?;
//! let mut hello = [0; 6];
//! peer.read_exact(&mut hello)?;
//! running.stop()?; // waits until the machine has stopped
//! let mut goodbye = String::new();
//! peer.read_to_string(&mut goodbye)?;
//! assert_eq!(goodbye, "goodbye\n");
//! # Ok(())
//! # }
//! ```
//!
//! # How long it takes
//!
//! A stop does not wait for clients that are silent or for intervals that are not due. Only two things can
//! delay it: a peer that reads slowly, and one of your callbacks that does not return.
//!
//! Both have until the [drain timeout](crate::Machine::set_drain_timeout), which is 5 s by default. After
//! that, the remaining connections are aborted. A second call of [`Machine::stop`] or a call of
//! [`Machine::stop_now`] aborts them at once.
//!
//! A thread that is stuck in your code cannot be killed. [`Machine::run`] then returns [`Error::Stuck`],
//! which names the client that the thread serves, and the thread keeps running. A long computation can call
//! [`Client::is_closed`] now and then and return early.
//!
//! # Signals
//!
//! Only [`Backport::run`] handles signals. A second Ctrl-C or SIGTERM ends the process at once, with the
//! status 128 plus the number of the signal, which is 130 for Ctrl-C. Signals that come within a tenth of a
//! second of each other count as one. The page [`platforms`](super::platforms) lists the signals of each
//! system.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Backport::stop`]: crate::Backport::stop
//! [`Client::is_closed`]: crate::Client::is_closed
//! [`Error::Stuck`]: crate::Error::Stuck
//! [`Machine::run`]: crate::Machine::run
//! [`Machine::stop`]: crate::Machine::stop
//! [`Machine::stop_now`]: crate::Machine::stop_now
//! [`Running`]: crate::Running
//! [`Running::join`]: crate::Running::join
