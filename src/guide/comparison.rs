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
//! Tokio has the larger ecosystem: HTTP, gRPC, databases. In return, all code that waits must be async, and none of it
//! may block. With Backport, a callback may use ordinary libraries and compute for a long time. The page
//! [`from_tokio`](super::from_tokio) has a server in both.
//!
//! The price of a thread for each client is a context switch for each message, and memory. With
//! [`Threads::WhileBusy`](super::threads), the same adapters have neither. The figures are CPU time of the server, relative
//! to tokio. Less is better:
//!
//! | | a thread for each client | `WhileBusy` |
//! |---|---|---|
//! | a message of one client | 0.84 | 0.86 |
//! | a message, 16 clients at once | 1.47 | 1.00 to 1.04 |
//! | a message, 512 clients at once | 1.81 | 0.95 |
//! | a message, 16 of 10,000 clients at once | 1.42 | 1.05 |
//! | connect, one message, close | 0.74 | 0.82 |
//! | rare messages of 1,000 clients | 1.90 | 0.92 |
//! | the first message of a client, after a silence | 1.76 | 1.78 |
//! | memory of an idle client | 10.6 KiB | 0.9 KiB (tokio: 15.8 KiB, and 9.7 KiB with a buffer of 1 KiB) |
//!
//! Tokio is ahead where these hold:
//!
//! - Short messages must use many cores. `WhileBusy` has one thread for them on up to four cores, and tokio uses all.
//! - Rare messages come from ever new clients. The table shows this as the first message.
//! - Callbacks that have always been short begin to block. If 20 clients do so at once, the others wait for up to 30 ms
//!   once, and with `spawn_blocking` for 5 to 10 ms. The 99th percentile does not change.
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
