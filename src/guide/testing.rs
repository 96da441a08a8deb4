//! Testing adapters without sockets, and intervals without waiting.
//!
//! # Adapters
//!
//! [`testing::connect`](crate::testing::connect) connects an adapter to a client in memory. The adapter is
//! run by the same code as with a socket. The test holds the [`TestClient`], which can do everything that a
//! peer can do:
//!
//! | the peer | the test |
//! |---|---|
//! | sends in pieces | calls `write` once for each piece |
//! | reads slowly or not at all | makes the buffers small with [`Setup::window`] |
//! | ends its output and still reads | calls [`close_write`] |
//! | closes the connection | calls [`close`] |
//! | crashes | calls [`reset`] |
//!
//! [`finish`] and [`ended`] wait until the connection has ended, and return the reason. No call waits longer
//! than 10 s. [`Setup::deadline`] changes this deadline.
//!
//! This test checks that the connection of a client ends when the client does not read and its backlog is
//! full:
//!
//! ```
//! use std::io::Write;
//! use backport::{receiving, testing::Setup, Closing};
//!
//! # fn main() -> std::io::Result<()> {
//! let chatty = receiving(|client, _| {
//!     for _ in 0..100 {
//!         client.post("tick\n")?;
//!     }
//!     Ok(())
//! });
//! let mut client = Setup::new().window(16).max_backlog(64).connect(chatty);
//! client.write_all(b"go")?; // and never reads
//! assert!(matches!(client.ended(), Closing::TooSlow));
//! # Ok(())
//! # }
//! ```
//!
//! # Intervals and timeouts
//!
//! A [`Clock`] replaces the system's clock for the intervals and timeouts of one machine. The test moves it
//! forward with [`advance`], which returns when all jobs that came due have run. Therefore a test of a whole
//! day takes only moments. If the jobs need longer than a deadline of 10 s, `advance` panics.
//!
//! ```
//! use std::time::Duration;
//! use backport::testing::Clock;
//! use backport::Machine;
//!
//! # fn main() -> backport::Result {
//! let machine = Machine::new();
//! let clock = Clock::new(&machine);
//! let hourly = machine.prepare_interval(Duration::from_secs(3600), |_| println!("dong"));
//! let running = machine.start()?;
//! clock.advance(Duration::from_secs(24 * 3600));
//! assert_eq!(hourly.ticks(), 24);
//! running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`TestClient`]: crate::testing::TestClient
//! [`Setup::window`]: crate::testing::Setup::window
//! [`Setup::deadline`]: crate::testing::Setup::deadline
//! [`close_write`]: crate::testing::TestClient::close_write
//! [`close`]: crate::testing::TestClient::close
//! [`reset`]: crate::testing::TestClient::reset
//! [`finish`]: crate::testing::TestClient::finish
//! [`ended`]: crate::testing::TestClient::ended
//! [`Clock`]: crate::testing::Clock
//! [`advance`]: crate::testing::Clock::advance
