//! Comparison with `std::net` by hand, tokio and message-io.
//!
//! # `std::net` by hand
//!
//! A loop over `accept` with `thread::spawn` takes ten lines, which is enough for one trusted peer. Backport
//! runs the same blocking loop and adds the following:
//!
//! - a stop that does not hang in `accept` or `read`,
//! - a limit on the number of clients, and timeouts for slow clients,
//! - panics that are reported,
//! - writes that do not mix and do not wait forever,
//! - replies that still reach the peer after a close, and in a stop,
//! - restarts that lose no connection.
//!
//! The page [`from_std`](super::from_std) has a server in both.
//!
//! # tokio and async
//!
//! Tokio is better for many clients that are busy at once, and for tens of thousands of connections, because
//! switching between tasks is cheaper than switching between threads. Tokio also has the larger ecosystem:
//! HTTP, gRPC, databases. In return, all code that waits must be async, and none of it may block. With
//! Backport, a callback may use ordinary libraries and compute for a long time. The page
//! [`from_tokio`](super::from_tokio) has a server in both.
//!
//! The price of a thread per client is a context switch for each message. Backport takes 1.4 times the CPU
//! time of tokio with 16 busy clients, and 1.8 times with 512. Clients that are connected but silent do not
//! change these numbers. For a short connection, Backport takes about three quarters of the CPU time of
//! tokio.
//!
//! # message-io
//!
//! In message-io, one thread runs an event loop for TCP, UDP, WebSocket and framed TCP, with one interface
//! for all of them. An event handler that blocks delays all clients. In Backport, a callback that blocks
//! delays only its own client. message-io is the better choice for many small messages over several kinds of
//! transport.
//!
//! # Measurements
//!
//! `cargo bench --bench servers` compares the CPU time of three servers: Backport, tokio and a loop over
//! `std::net`. The loop has a thread per connection and a buffer of 64 KiB. The file `benches/RESULTS.md` has
//! all results with plots. It also describes the computer, and lists the goals that Backport misses.
