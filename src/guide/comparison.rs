//! Comparison: `std::net` by hand, tokio and message-io.
//!
//! # `std::net` by hand
//!
//! A loop over `accept` with `thread::spawn` is ten lines. That is enough for one trusted peer. It lacks
//! these things, which Backport adds around the same blocking loop:
//!
//! - a stop that does not hang in `accept` or `read`,
//! - limits on clients and timeouts for slow ones,
//! - panics that are reported,
//! - writes that do not mix and do not wait for ever,
//! - replies that survive a close.
//!
//! # tokio and async
//!
//! Tokio is ahead with many clients that are busy at once, or with tens of thousands of connections. A
//! task is cheaper to switch to than a thread. Tokio also has the larger ecosystem: HTTP, TLS, databases.
//! It asks that all code on the way is async and that none of it blocks. Backport asks neither: a
//! callback may use ordinary libraries and compute for a long time.
//!
//! The price of a thread per client is a context switch for each message. Backport takes 1.4 times
//! tokio's CPU time at 16 busy clients, and 1.8 times at 512. Clients that are connected and silent make
//! no difference. For a short connection Backport takes about three quarters of tokio's CPU time.
//!
//! # message-io
//!
//! One thread runs an event loop for all transports: TCP, UDP, WebSocket and frames, behind one
//! interface. An event handler that blocks delays all clients there. Here it delays only its own client.
//! message-io is the better choice for many small messages over mixed transports.
//!
//! # Measurements
//!
//! `cargo bench --bench servers` compares the CPU time of three servers: Backport, tokio and a loop over
//! `std::net`. The loop has a thread per connection and a buffer of 64 KiB. The file `benches/RESULTS.md`
//! has all results, the machine, the targets that are missed, and plots.
