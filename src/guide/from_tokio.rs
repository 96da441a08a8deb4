//! For users of tokio: the same server in both, the corresponding names, and the differences.
//!
//! The server adds the numbers that its clients send, one on each line, and answers with the sum. A client that
//! sends nothing for a minute is closed. A stop says goodbye to all clients, and waits for them.
//!
//! # With tokio
//!
//! This uses the crates `tokio`, `tokio-util` and `futures`.
//!
//! ```text
//! use std::error::Error;
//! use std::sync::atomic::{AtomicI64, Ordering};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use futures::StreamExt;
//! use tokio::io::AsyncWriteExt;
//! use tokio::net::{TcpListener, TcpStream};
//! use tokio::time::timeout;
//! use tokio_util::codec::{FramedRead, LinesCodec};
//! use tokio_util::sync::CancellationToken;
//! use tokio_util::task::TaskTracker;
//!
//! type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
//!
//! async fn count(stream: TcpStream, sum: Arc<AtomicI64>, stop: CancellationToken) -> Result {
//!     let (input, mut output) = stream.into_split();
//!     let mut lines = FramedRead::new(input, LinesCodec::new_with_max_length(65536));
//!     loop {
//!         let line = tokio::select! {
//!             line = timeout(Duration::from_secs(60), lines.next()) => line?,
//!             () = stop.cancelled() => {
//!                 output.write_all(b"goodbye\n").await?;
//!                 return Ok(());
//!             }
//!         };
//!         let Some(line) = line else { return Ok(()) };
//!         let number: i64 = line?.parse()?;
//!         let answer = format!("{}\n", sum.fetch_add(number, Ordering::Relaxed) + number);
//!         timeout(Duration::from_secs(30), output.write_all(answer.as_bytes())).await??;
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result {
//!     let listener = TcpListener::bind("localhost:8000").await?;
//!     let (sum, stop, tasks) = (Arc::default(), CancellationToken::new(), TaskTracker::new());
//!     loop {
//!         tokio::select! {
//!             accepted = listener.accept() => {
//!                 let (stream, peer) = accepted?;
//!                 let counting = count(stream, Arc::clone(&sum), stop.clone());
//!                 tasks.spawn(async move {
//!                     if let Err(error) = counting.await {
//!                         eprintln!("{peer}: {error}");
//!                     }
//!                 });
//!             }
//!             _ = tokio::signal::ctrl_c() => break,
//!         }
//!     }
//!     drop(listener);
//!     stop.cancel();
//!     tasks.close();
//!     timeout(Duration::from_secs(5), tasks.wait()).await?;
//!     Ok(())
//! }
//! ```
//!
//! # With Backport
//!
//! ```
//! use std::sync::atomic::{AtomicI64, Ordering};
//! use std::sync::Arc;
//! use std::time::Duration;
//! use backport::framing::Lines;
//! use backport::{Adapter, Client, Closing, Machine, Result, TcpServer};
//!
//! struct Counter {
//!     sum: Arc<AtomicI64>,
//! }
//!
//! impl Adapter for Counter {
//!     fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
//!         let number: i64 = std::str::from_utf8(line)?.parse()?;
//!         let sum = self.sum.fetch_add(number, Ordering::Relaxed) + number;
//!         Ok(client.write_line(sum.to_string())?)
//!     }
//!
//!     fn closing(&mut self, client: &Client, reason: &Closing) {
//!         if let Closing::Stopping = reason {
//!             // This fails only if the peer has already disconnected.
//!             let _ = client.write_line("goodbye");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result {
//! let sum = Arc::default();
//! let counter = move || Counter { sum: Arc::clone(&sum) }.framed(Lines::default());
//! let machine = Machine::new();
//! let server = TcpServer::new("localhost:0", counter).idle_timeout(Duration::from_secs(60));
//! let address = machine.prepare(server)?.local_addr();
//! let running = machine.start()?; // a program that is only a server calls Backport::run instead
//! # use std::io::{Read, Write};
//! # let mut client = std::net::TcpStream::connect(address)?;
//! # client.write_all(b"20\n22\n")?;
//! # let mut said = [0; 6];
//! # client.read_exact(&mut said)?;
//! # assert_eq!(&said, b"20\n42\n");
//! running.stop()?;
//! # let mut rest = String::new();
//! # client.read_to_string(&mut rest)?;
//! # assert_eq!(rest, "goodbye\n");
//! # Ok(())
//! # }
//! ```
//!
//! # Names
//!
//! | tokio | Backport |
//! |---|---|
//! | the loop over `accept`, `tokio::spawn` | the factory, which makes an adapter for each client |
//! | the task of a client | the thread of a client, which calls its [`Adapter`](crate::Adapter) |
//! | `AsyncRead`, `AsyncBufRead` | `Read` and `BufRead`, which the [`Input`](crate::Input) implements |
//! | `into_split`, and a task that only writes | not needed, because any thread may call [`Client::write`](crate::Client::write) |
//! | a bounded channel to the task that writes | [`Client::post`](crate::Client::post) and its [limit](crate::TcpServer::max_backlog) |
//! | `tokio_util::codec::Framed`, `LinesCodec` | [`Adapter::framed`](crate::Adapter::framed), [`Lines`](crate::framing::Lines) |
//! | `timeout(limit, read)` | [`idle_timeout`](crate::TcpServer::idle_timeout), or [`Input::set_deadline`](crate::Input::set_deadline) |
//! | `timeout(limit, write)` | [`write_timeout`](crate::TcpServer::write_timeout) |
//! | `select!` of a read and a cancellation | not needed, because a stop ends each read |
//! | `select!` of a read and a channel | a thread that waits for the channel, and writes to the client |
//! | `CancellationToken`, for example in a computation | [`Client::is_stopping`](crate::Client::is_stopping), [`Client::on_close`](crate::Client::on_close) |
//! | `TaskTracker::wait` | the return of [`Machine::run`](crate::Machine::run), which has joined all threads |
//! | a task that outlives the read loop of its client | a thread with a [`Hold`](crate::Hold) |
//! | `broadcast::channel` | a [`Group`](crate::Group), and its `broadcast` |
//! | `signal::ctrl_c` | [`Backport::run`](crate::Backport::run) |
//! | `time::interval`, `time::sleep` | [`prepare_interval`](crate::Machine::prepare_interval), [`prepare_timeout`](crate::Machine::prepare_timeout) |
//! | `spawn_blocking`, `block_in_place` | not needed, because a callback may block |
//! | `tokio::sync::Mutex` across an `.await` | `std::sync::Mutex` |
//! | `Semaphore`, to limit the clients | [`max_clients`](crate::TcpServer::max_clients) |
//! | `tokio::io::duplex`, `time::pause` in tests | [`testing::connect`](crate::testing::connect()), [`testing::Clock`](crate::testing::Clock) |
//!
//! # The parts that stay
//!
//! - One flow of control for each client, and values that only it owns.
//! - `Arc`, atomics, `std::sync` locks and channels, and `?` with one error type.
//! - Backpressure: a write waits for a slow peer, and input waits in the kernel while a callback runs.
//!
//! # The parts that go
//!
//! - `async`, `.await`, `Pin`, and the two kinds of libraries. A driver of a database that blocks is a normal call.
//! - Cancellation in the middle of a function. A future can be dropped at each `.await`, and half a message with
//!   it. A thread is never stopped in the middle. Its reads end, and it returns.
//! - The bounds `Send` and `'static` for everything that a task holds across an `.await`. Only the adapter itself
//!   must be `Send`.
//!
//! # A channel and a client in one loop
//!
//! A task often selects between its client and a channel. In Backport, two threads share this work. The thread
//! of the client reads, and another thread receives from the channel and [posts](crate::Client::post) to the
//! client. If all clients get the same messages, one thread and a [`Group`](crate::Group) are enough.
//!
//! # When to stay with tokio
//!
//! - One server must use many cores for short messages. The page [`comparison`](super::comparison#tokio-and-async) has
//!   numbers, also for thousands of clients.
//! - The program needs a library that is async, such as hyper, tonic or axum.
//! - One conversation waits for many events at once, for example a proxy that starts a request at two servers and
//!   takes the first answer. `select!` and `JoinSet` are shorter than threads and channels.
//!
//! Both can be in one program. A machine runs on threads of its own, and a callback can wait for a future with
//! `Handle::block_on`.
