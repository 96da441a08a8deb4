//! For users of a loop over `std::net`: the same server in both, the corresponding names, and the differences.
//!
//! The server adds the numbers that its clients send, one on each line, and answers with the sum. A client that
//! sends nothing for a minute is closed. A stop says goodbye to all clients, and waits for them.
//!
//! # With `std::net`
//!
//! ```
//! use std::collections::HashMap;
//! use std::io::{self, BufRead, BufReader, Read, Write};
//! use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::sync::{Arc, Mutex};
//! use std::thread;
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Shared {
//!     sum: Mutex<i64>,
//!     is_stopping: AtomicBool,
//!     streams: Mutex<HashMap<SocketAddr, TcpStream>>, // the stop needs them
//! }
//!
//! fn accept(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
//!     let mut threads = Vec::new(); // grows with each client
//!     loop {
//!         let (stream, peer) = listener.accept()?; // without a free file descriptor, the server ends here
//!         shared.streams.lock().unwrap().insert(peer, stream.try_clone()?);
//!         // This is checked after the insertion, so that no client misses the stop.
//!         if shared.is_stopping.load(Ordering::SeqCst) {
//!             break;
//!         }
//!         let shared = Arc::clone(&shared);
//!         threads.push(thread::spawn(move || {
//!             if let Err(error) = count(&stream, &shared) {
//!                 eprintln!("{peer}: {error}");
//!             }
//!             shared.streams.lock().unwrap().remove(&peer);
//!         }));
//!     }
//!     drop(listener);
//!     for thread in threads {
//!         drop(thread.join()); // a client that does not read can delay this
//!     }
//!     Ok(())
//! }
//!
//! fn count(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
//!     stream.set_read_timeout(Some(Duration::from_secs(60)))?;
//!     stream.set_write_timeout(Some(Duration::from_secs(30)))?; // for each system call
//!     let mut input = BufReader::new(stream);
//!     let mut line = String::new();
//!     while (&mut input).take(1024).read_line(&mut line)? > 0 {
//!         let number: i64 = line.trim().parse().map_err(io::Error::other)?;
//!         line.clear();
//!         let mut sum = shared.sum.lock().unwrap();
//!         *sum += number;
//!         let answer = format!("{sum}\n");
//!         drop(sum);
//!         stream.write_all(answer.as_bytes())?;
//!     }
//!     if shared.is_stopping.load(Ordering::SeqCst) {
//!         stream.write_all(b"goodbye\n")?; // lost if a line is unread, because the close then is a reset
//!     }
//!     Ok(())
//! }
//!
//! fn stop(shared: &Shared, address: SocketAddr) -> io::Result<()> {
//!     shared.is_stopping.store(true, Ordering::SeqCst);
//!     for stream in shared.streams.lock().unwrap().values() {
//!         drop(stream.shutdown(Shutdown::Read)); // wakes its thread
//!     }
//!     TcpStream::connect(address).map(drop) // wakes the acceptor
//! }
//!
//! # fn main() -> io::Result<()> {
//! let listener = TcpListener::bind("localhost:0")?;
//! let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
//! let acceptor = thread::spawn({
//!     let shared = Arc::clone(&shared);
//!     move || accept(listener, shared)
//! });
//! # let mut client = TcpStream::connect(address)?;
//! # client.write_all(b"20\n22\n")?;
//! # let mut said = [0; 6];
//! # client.read_exact(&mut said)?;
//! # assert_eq!(&said, b"20\n42\n");
//! stop(&shared, address)?; // a handler of Ctrl-C needs another crate
//! acceptor.join().unwrap()?;
//! # let mut rest = String::new();
//! # client.read_to_string(&mut rest)?;
//! # assert_eq!(rest, "goodbye\n");
//! # Ok(())
//! # }
//! ```
//!
//! # With Backport
//!
//! ```
//! use std::io::{BufRead, Read};
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//! use backport::{Adapter, Client, Closing, Input, Machine, Result, TcpServer};
//!
//! struct Counter {
//!     sum: Arc<Mutex<i64>>,
//! }
//!
//! impl Adapter for Counter {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         let mut line = String::new();
//!         while input.take(1024).read_line(&mut line)? > 0 {
//!             let number: i64 = line.trim().parse()?;
//!             line.clear();
//!             let mut sum = self.sum.lock().unwrap();
//!             *sum += number;
//!             let answer = sum.to_string();
//!             drop(sum);
//!             client.write_line(answer)?;
//!         }
//!         Ok(())
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
//! let sum = Arc::new(Mutex::new(0));
//! let counter = move || Counter { sum: Arc::clone(&sum) };
//! let machine = Machine::new();
//! let server = TcpServer::new("localhost:0", counter).idle_timeout(Duration::from_secs(60));
//! let address = machine.prepare(server)?.local_addr();
//! let running = machine.start()?; // a program that is only a server calls Backport::run instead
//! # use std::io::Write;
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
//! | `std::net` | Backport |
//! |---|---|
//! | `TcpListener::bind` | [`TcpServer::new`], or [`TcpServer::from_listener`] for a listener that is bound |
//! | the loop over `accept`, `thread::spawn` | the factory, which makes an adapter for each client |
//! | the function of the thread | [`Adapter::serving`], or [`receiving`] for each message |
//! | `TcpStream` as a reader | [`Input`], which implements `Read` and `BufRead` |
//! | `TcpStream` as a writer | [`Client`], and `&Client` implements `Write` |
//! | `try_clone`, so that another thread can write | `client.clone()`, and writes of several threads never mix |
//! | `BufReader` | not needed, because the [`Input`] has a buffer |
//! | `set_read_timeout` | [`TcpServer::idle_timeout`], or [`Input::set_deadline`] for several reads |
//! | `set_write_timeout` for each system call | [`TcpServer::write_timeout`] for each record |
//! | `shutdown(Shutdown::Write)` | [`Client::close_write`] |
//! | `shutdown(Shutdown::Both)` | [`Client::close`], which delivers the output before |
//! | a map of streams, to write to all of them | [`ServerHandle::broadcast`], or a [`Group`] |
//! | a flag, a connection to oneself, and `join` | [`Machine::stop`], and the return of [`Machine::run`] |
//! | a library that needs a `TcpStream` | [`Input::stream`] |
//!
//! # The loop that stays
//!
//! - The code of a conversation stays a blocking loop on its own thread. Only the type of the reader changes.
//! - Locks, channels, `thread::spawn` and blocking libraries stay as they are.
//! - `?` still passes on errors. An error ends one client, and the log gets it with the client's address.
//!
//! # The code that goes
//!
//! - The map of streams, the list of threads, the flag and the connection that wakes the acceptor.
//! - The handling of errors of `accept`, which the comments above only mention.
//! - The code that keeps the last answer from being destroyed by a reset. The page
//!   [`endings`](super::endings#delivered-output) describes the delivery.
//!
//! # When to stay with `std::net`
//!
//! Stay if one trusted peer connects, if the program ends by being killed, or if it may not have dependencies.
//! The page [`comparison`](super::comparison) lists the additions of Backport.
//!
//! [`Adapter::serving`]: crate::Adapter::serving
//! [`Client`]: crate::Client
//! [`Client::close`]: crate::Client::close
//! [`Client::close_write`]: crate::Client::close_write
//! [`Group`]: crate::Group
//! [`Input`]: crate::Input
//! [`Input::set_deadline`]: crate::Input::set_deadline
//! [`Input::stream`]: crate::Input::stream
//! [`Machine::run`]: crate::Machine::run
//! [`Machine::stop`]: crate::Machine::stop
//! [`ServerHandle::broadcast`]: crate::ServerHandle::broadcast
//! [`TcpServer::from_listener`]: crate::TcpServer::from_listener
//! [`TcpServer::idle_timeout`]: crate::TcpServer::idle_timeout
//! [`TcpServer::new`]: crate::TcpServer::new
//! [`TcpServer::write_timeout`]: crate::TcpServer::write_timeout
//! [`receiving`]: crate::Adapter::receiving
