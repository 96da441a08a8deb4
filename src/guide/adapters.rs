//! Adapters: the callbacks, and where to keep state.
//!
//! # Callbacks
//!
//! Implement [`Adapter`] for your type. All methods have defaults, and most adapters implement only
//! [`receiving`](crate::Adapter::receiving).
//!
//! | callback | when it is called |
//! |---|---|
//! | [`opening`](crate::Adapter::opening) | once, first |
//! | [`receiving`](crate::Adapter::receiving) | each time bytes have arrived, with all bytes that are available |
//! | [`closing`](crate::Adapter::closing) | once, last, if `opening` was called |
//! | [`serving`](crate::Adapter::serving) | once, after `opening`; if you implement it, `receiving` is not called |
//!
//! All of them may write. The page [`endings`](super::endings#all-endings) says when a write can fail.
//!
//! All callbacks of a client run on the client's own thread, one after another. The factory runs on that
//! thread too, before `opening`. The adapter is dropped after `closing`. Only with
//! [`Threads::WhileBusy`](super::threads), the thread changes between two callbacks.
//!
//! TCP does not keep the boundaries of writes. One `write` of the peer can arrive in several calls of
//! `receiving`, and several writes can arrive in one call. The page [`messages`](super::messages) shows how
//! to get whole messages.
//!
//! # State of one client
//!
//! The factory makes one adapter for each client, so a field of the adapter belongs to one client:
//!
//! ```
//! use std::io::{Read, Write};
//! use backport::{testing, Adapter, Client, Result};
//!
//! struct Counter {
//!     bytes: usize,
//! }
//!
//! impl Adapter for Counter {
//!     fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
//!         self.bytes += data.len();
//!         client.write_line(format!("{} bytes so far", self.bytes))?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut client = testing::connect(Counter { bytes: 0 });
//! client.write_all(b"hello")?;
//! client.close_write();
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert_eq!(reply, "5 bytes so far\n");
//! # Ok(())
//! # }
//! ```
//!
//! # State of all clients
//!
//! Put shared state into an `Arc`, with a `Mutex` inside if the state changes. The factory is a `move`
//! closure that owns the `Arc` and clones it for each adapter:
//!
//! ```
//! use std::io::{BufRead, BufReader};
//! use std::net::TcpStream;
//! use std::sync::{Arc, Mutex};
//! use backport::{Adapter, Client, Machine, Result};
//!
//! struct Visitor {
//!     visits: Arc<Mutex<u64>>,
//! }
//!
//! impl Adapter for Visitor {
//!     fn opening(&mut self, client: &Client) -> Result {
//!         let visit = {
//!             let mut visits = self.visits.lock().unwrap();
//!             *visits += 1;
//!             *visits
//!         }; // the lock is released before the write
//!         client.write_line(format!("You are visitor {visit}."))?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let visits = Arc::new(Mutex::new(0));
//! let machine = Machine::new();
//! let server = machine.prepare_tcp_server("localhost:0", move || Visitor { visits: visits.clone() })?;
//! let running = machine.start()?;
//!
//! for expected in ["You are visitor 1.\n", "You are visitor 2.\n"] {
//!     let mut line = String::new();
//!     BufReader::new(TcpStream::connect(server.local_addr())?).read_line(&mut line)?;
//!     assert_eq!(line, expected);
//! }
//! running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! Do not call [`write`](crate::Client::write) while you hold such a lock, because a slow peer would then
//! block every client that needs the lock. Release the lock first, or use [`post`](crate::Client::post),
//! which never blocks. A function of [`on_close`](crate::Client::on_close) must not need the lock, because a post
//! or a close can call it.
//!
//! A panic while a `Mutex` of the standard library is locked poisons it, and then `unwrap` panics for every other
//! client, too. The mutex of the crate `parking_lot` is not poisoned.
//!
//! # Other ways to make an adapter
//!
//! - [`receiving`](crate::receiving) makes an adapter from a closure.
//! - A `Box<dyn Adapter>` is an adapter, so a factory can choose between several types.
//! - [`Adapter::framed`] makes an adapter that receives messages.
//!
//! [`Adapter`]: crate::Adapter
//! [`Adapter::framed`]: crate::Adapter::framed
