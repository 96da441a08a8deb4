//! Deadlines: all limits in time, and the defence against clients that send slowly on purpose.
//!
//! # All time limits
//!
//! | limit | default | it limits | noticed by | then |
//! |---|---|---|---|---|
//! | [`idle_timeout`] | **none** | each wait for input | the client's thread | the read fails with `TimedOut`, and the client ends as [`Idle`] |
//! | [`Input::set_deadline`] | none | all reads, until a moment | the client's thread | the read fails with `TimedOut`, and the connection continues |
//! | [`Framed::within`] | none | one frame, from its first byte to its last | the client's thread | the client ends as [`Failed`] with [`FrameError::TooSlow`] |
//! | [`write_timeout`] | 30 s | each `write` or `flush` in total, even if the peer takes a few bytes at a time | the thread that writes | the write fails with `TimedOut`, and the client ends as [`TooSlow`] |
//! | [`keepalive`] | 60 s | the silence of a peer that has vanished | the operating system | the client ends as [`Lost`], on Linux at the latest after twice this time |
//! | delivery of the last output | 1 s | how long the peer takes nothing | the client's thread | the rest is dropped, with a warning |
//! | the same, in total | 5 s | the time after `closing`, except in a stop | the client's thread | the rest is dropped, with a warning |
//! | [`Machine::set_drain_timeout`] | 5 s | a stop of a server or machine | the thread in [`Machine::run`] | the connections are aborted, with a warning that names the clients |
//! | [`drain`] | its argument | how long clients continue after the listeners have closed | the thread in [`Machine::run`] | the clients that are left are stopped |
//!
//! The page [`endings`](super::endings#all-endings) says what the peer sees after each of them, and whether
//! `closing` may still write. The page [`platforms`](super::platforms) has the differences between systems.
//! The documentation of [`StdioServer`](crate::StdioServer) has the limits for its reader.
//!
//! On Linux, `keepalive` also limits how long a peer that is there takes no output: to one and a half times this
//! time (`TCP_USER_TIMEOUT` in `tcp(7)`). It matters for posted output, which has no other limit in time.
//!
//! On Linux, a long wait for input may end late, by up to an eighth of its time. The timers of the kernel are that
//! coarse (`kernel/time/timer.c`).
//!
//! # Changing them
//!
//! - [`ServerHandle::set_idle_timeout`] and [`ServerHandle::set_write_timeout`] change the limits of all
//!   clients of a server while it runs.
//! - [`Client::set_idle_timeout`] changes the idle timeout of one client. For example, a client that has logged
//!   in may be silent for longer.
//! - The idle timeout limits waits for *input* only. A client that just listens counts as idle, even if it
//!   reads everything. Give such a client no idle timeout, or let it send something now and then.
//! - The idle timeout does not run while a callback runs.
//!
//! A [`post`] never waits, so it has no time limit. [`max_backlog`](crate::TcpServer::max_backlog) limits its
//! waiting bytes.
//!
//! # Clients that send slowly on purpose
//!
//! A client that sends one byte now and then occupies its thread for as long as it likes ("slow loris"). The
//! idle timeout does not help, because each byte starts it again. Limit the time of a whole message instead.
//! For messages, [`Framed::within`] does that:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//! use backport::framing::{FrameError, Lines};
//! use backport::{testing, Adapter, Client, Closing, Result};
//!
//! struct Echo;
//!
//! impl Adapter for Echo {
//!     fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
//!         Ok(client.write_line(line)?)
//!     }
//!
//!     fn closing(&mut self, client: &Client, reason: &Closing) {
//!         if let Closing::Failed(error) = reason {
//!             if let Some(FrameError::TooSlow) = error.downcast_ref() {
//!                 // This fails only if the peer has already disconnected.
//!                 let _ = client.write_line("a line must arrive within 10 ms");
//!             }
//!         }
//!     }
//! }
//!
//! # fn main() -> Result {
//! let echo = Echo.framed(Lines::default()).within(Duration::from_millis(10));
//! let mut client = testing::connect(echo);
//! client.write_all(b"hel")?; // and no more
//! let mut said = String::new();
//! client.read_to_string(&mut said)?;
//! assert_eq!(said, "a line must arrive within 10 ms\n");
//! # Ok(())
//! # }
//! ```
//!
//! In straight-line code, [`Input::set_deadline`] limits all reads until a moment. This limits, for example, a
//! login of several lines:
//!
//! ```
//! use std::io::{BufRead, ErrorKind, Read, Write};
//! use std::time::{Duration, Instant};
//! use backport::{testing, Adapter, Client, Input, Result};
//!
//! struct Login;
//!
//! impl Adapter for Login {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         let mut name = String::new();
//!         input.set_deadline(Some(Instant::now() + Duration::from_millis(10)));
//!         match input.take(100).read_line(&mut name) {
//!             Err(error) if error.kind() == ErrorKind::TimedOut => {
//!                 client.write_line("too late")?; // the connection is still open
//!                 return Ok(());
//!             }
//!             result => result?,
//!         };
//!         input.set_deadline(None);
//!         client.set_idle_timeout(Some(Duration::from_secs(3600)));
//!         client.write_line(format!("Hello, {}!", name.trim()))?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut client = testing::connect(Login);
//! client.write_all(b"An")?; // and no more
//! let mut said = String::new();
//! client.read_to_string(&mut said)?;
//! assert_eq!(said, "too late\n");
//! # Ok(())
//! # }
//! ```
//!
//! | a client that | is stopped by |
//! |---|---|
//! | connects and sends nothing | the idle timeout, or a deadline |
//! | sends a message byte by byte | [`Framed::within`], or a deadline |
//! | sends a message that never ends | the size limit of the [framing](super::messages) |
//! | does not read, or reads slowly | the write timeout, and the limit of the backlog |
//! | vanishes without a word | keepalive |
//! | comes with too many connections | [`max_clients`](crate::TcpServer::max_clients), but only for all clients together |
//!
//! A public server should have at least an idle timeout and a limit for each message.
//!
//! # No limit for your own code
//!
//! The crate cannot interrupt a callback, so a callback may run for as long as it likes. The same is true for
//! the work behind a [hold](super::endings#holds). If such code waits for something else, limit that wait, or
//! [wake it](super::endings#waking-a-callback-that-waits-for-something-else).
//!
//! [`idle_timeout`]: crate::TcpServer::idle_timeout
//! [`write_timeout`]: crate::TcpServer::write_timeout
//! [`keepalive`]: crate::TcpServer::keepalive
//! [`drain`]: crate::Machine::drain
//! [`post`]: crate::Client::post
//! [`Client::set_idle_timeout`]: crate::Client::set_idle_timeout
//! [`Framed::within`]: crate::framing::Framed::within
//! [`FrameError::TooSlow`]: crate::framing::FrameError::TooSlow
//! [`Input::set_deadline`]: crate::Input::set_deadline
//! [`Machine::run`]: crate::Machine::run
//! [`Machine::set_drain_timeout`]: crate::Machine::set_drain_timeout
//! [`ServerHandle::set_idle_timeout`]: crate::ServerHandle::set_idle_timeout
//! [`ServerHandle::set_write_timeout`]: crate::ServerHandle::set_write_timeout
//! [`Failed`]: crate::Closing::Failed
//! [`Idle`]: crate::Closing::Idle
//! [`Lost`]: crate::Closing::Lost
//! [`TooSlow`]: crate::Closing::TooSlow
