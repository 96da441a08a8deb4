//! Stopping: the causes, the steps and the duration of a stop.
//!
//! # What starts a stop
//!
//! - [`Machine::stop`], from any thread or callback. It returns at once.
//! - The first Ctrl-C or SIGTERM, if the machine runs in [`Backport::run`]. [`Backport::stop`] does the
//!   same from code.
//! - The end of the last server. For example, the end of standard input ends a stdio server.
//! - The end of the last interval, if the machine never had a server.
//! - The drop of the last handle of the machine, or of its [`Running`].
//!
//! # What happens in it
//!
//! 1. Listeners close. New clients are refused.
//! 2. Intervals and timeouts are cancelled.
//! 3. Each client is closed with the reason [`Stopping`](crate::Closing::Stopping). A callback that runs
//!    finishes, and no `receiving` starts after it.
//! 4. Each client's `closing` is called. It may write a goodbye.
//! 5. Output is delivered to each peer that reads, within [bounds](super::limits#fixed-bounds).
//! 6. All threads are joined.
//! 7. [`Machine::run`] and [`Running::join`] return.
//!
//! From step 3 on, only `closing` may write. All other writes fail with
//! [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), also those of a callback that is still running. A
//! callback that fails because of that still ends with the reason `Stopping`. If an answer must not get
//! lost in a stop, let `closing` write it.
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
//!             // It fails only if the peer is already gone.
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
//! A stop waits for no timer: a thousand silent clients or an interval of a day do not delay it. Two
//! things can: a peer that reads slowly, and code of yours that does not return.
//!
//! Both get the [drain timeout](crate::Machine::set_drain_timeout), 5 s by default. Then the connections
//! that are left are aborted. A second call of [`Machine::stop`] does that at once, as
//! [`Machine::stop_now`] does.
//!
//! A thread that is stuck in your code cannot be killed. It stays behind, and the result of
//! [`Machine::run`] is [`Error::Stuck`], which names the client that the thread serves. A long
//! computation can ask [`Client::is_closed`] now and then and return early.
//!
//! # Signals
//!
//! Only [`Backport::run`] handles signals. A second Ctrl-C or SIGTERM ends the process at once, with the
//! status 128 plus the number of the signal: 130 for Ctrl-C. Signals that follow within a tenth of a
//! second count as one. [`platforms`](super::platforms) lists the signals of each system.
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
