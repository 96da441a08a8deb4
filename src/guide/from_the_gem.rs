//! For users of the Ruby gem `backport`: the corresponding names, and the differences.
//!
//! # Names
//!
//! | gem | crate |
//! |---|---|
//! | `module Echo`, which extends each client's adapter | `impl Adapter for Echo`, one value per client |
//! | `opening`, `receiving(data)`, `closing` | the same, with the client as an argument, and a reason in `closing` |
//! | `write`, `write_line`, `close`, `remote` in the adapter | methods of the [`Client`](crate::Client) |
//! | `Backport.run do … end` | `Backport::run(\|machine\| { …; Ok(()) })` |
//! | `prepare_tcp_server host: 'localhost', port: 8000, adapter: Echo` | `machine.prepare_tcp_server("localhost:8000", \|\| Echo)?` |
//! | `prepare_stdio_server adapter: Echo` | `machine.prepare_stdio_server(\|\| Echo)?` |
//! | `prepare_interval(1) { … }` | `machine.prepare_interval(Duration::from_secs(1), \|_\| …)` |
//! | a subclass of `Server::Base` | `impl Server`, and `machine.prepare(…)` |
//! | `Backport.stop`, `machine.stop` | `Backport::stop()`, `machine.stop()` |
//!
//! # Differences
//!
//! | | gem | crate |
//! |---|---|---|
//! | `receiving` gets | a String of up to 255 bytes | all bytes that are available ([`framing`](crate::framing) cuts them into lines) |
//! | `opening` runs | under the lock of the acceptor | on the client's thread, and may block |
//! | `closing` is called | twice after `close` | exactly once |
//! | an exception (in Rust an error or a panic) | leaks its client, or stops the server | ends that client and is logged |
//! | `remote` is | the local address | the peer's address, together with the local address |
//! | the end of stdin | is not noticed | ends the server, and the machine if it has no other server |
//! | `run` with nothing prepared | hangs | returns |
//! | `machine.stop` | skips every second server | stops every server and closes every client; answers that are being computed still arrive |
//! | intervals | drift | run at a fixed rate |
//! | writes from several threads | mix | stay whole |
//! | Ctrl-C | raises an exception | stops gracefully |
//! | waiting | polls | blocks |
