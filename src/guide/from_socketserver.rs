//! For users of Python's `socketserver`: the same server in both, the corresponding names, and the differences.
//!
//! The server adds the numbers that its clients send, one on each line, and answers with the sum. A client that
//! sends nothing for a minute is closed. A stop says goodbye to all clients, and waits for them.
//!
//! # With `socketserver`
//!
//! ```python
//! import signal
//! import socket
//! import socketserver
//! import threading
//!
//!
//! class Counter(socketserver.StreamRequestHandler):
//!     timeout = 60
//!
//!     def setup(self):
//!         super().setup()
//!         with self.server.lock:
//!             self.server.connections.add(self.connection)
//!
//!     def handle(self):
//!         while line := self.rfile.readline(1024):
//!             with self.server.lock:
//!                 self.server.sum += int(line)
//!                 answer = f"{self.server.sum}\n"
//!             self.wfile.write(answer.encode())
//!
//!     def finish(self):
//!         with self.server.lock:
//!             self.server.connections.discard(self.connection)
//!         if self.server.is_stopping:
//!             self.wfile.write(b"goodbye\n")
//!         super().finish()
//!
//!
//! class Server(socketserver.ThreadingTCPServer):
//!     allow_reuse_address = True
//!
//!     def __init__(self, address):
//!         super().__init__(address, Counter)
//!         self.lock = threading.Lock()
//!         self.sum = 0
//!         self.connections = set()
//!         self.is_stopping = False
//!
//!     def stop(self):
//!         self.shutdown()
//!         with self.lock:
//!             self.is_stopping = True
//!             for connection in self.connections:
//!                 connection.shutdown(socket.SHUT_RD)
//!
//!
//! with Server(("localhost", 8000)) as server:
//!     # The method `shutdown` waits for `serve_forever`, so it needs a thread of its own.
//!     signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=server.stop).start())
//!     server.serve_forever()
//! # Leaving the `with` block waits for the threads of all clients.
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
//!             let answer = {
//!                 let mut sum = self.sum.lock().unwrap();
//!                 *sum += number;
//!                 sum.to_string()
//!             };
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
//! let sum = Arc::default();
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
//! | `socketserver` | Backport |
//! |---|---|
//! | `ThreadingTCPServer(address, Handler)` | [`TcpServer::new`](crate::TcpServer::new), with a function that makes an adapter |
//! | `ThreadingUnixStreamServer` | `UnixServer` |
//! | `TCPServer`, which serves one client after another | [`max_clients(1)`](crate::TcpServer::max_clients) |
//! | `StreamRequestHandler`, one value for each client | [`Adapter`](crate::Adapter), one value for each client |
//! | `setup` | [`opening`](crate::Adapter::opening) |
//! | `handle` | [`serving`](crate::Adapter::serving), or [`receiving`](crate::Adapter::receiving) for each message |
//! | `finish` | [`closing`](crate::Adapter::closing), with the reason, and also after an error in `opening` |
//! | `self.rfile` | [`Input`](crate::Input), which implements `Read` and `BufRead` |
//! | `self.wfile` | [`Client`](crate::Client), which other threads may also use |
//! | `self.client_address` | [`Client::remote`](crate::Client::remote) |
//! | `self.server`, and its attributes | an `Arc` that the function gives to each adapter |
//! | `timeout` of the handler | [`idle_timeout`](crate::TcpServer::idle_timeout) and [`write_timeout`](crate::TcpServer::write_timeout) |
//! | `request_queue_size` | [`backlog`](crate::TcpServer::backlog) |
//! | `allow_reuse_address` | always on, except on Windows |
//! | `disable_nagle_algorithm` | [`nodelay`](crate::TcpServer::nodelay), which is on by default |
//! | `verify_request` | an error in [`opening`](crate::Adapter::opening) |
//! | `handle_error`, which prints a traceback | a warning in the log, and the reason [`Failed`](crate::Closing::Failed) |
//! | `serve_forever` | [`Backport::run`](crate::Backport::run) or [`Machine::run`](crate::Machine::run) |
//! | `serve_forever` in a thread | [`Machine::start`](crate::Machine::start) |
//! | `shutdown`, which waits and must not be called on the server's thread | [`Machine::stop`](crate::Machine::stop), which any thread may call and which returns at once |
//! | `server_close` with `block_on_close` | the return of [`Machine::run`](crate::Machine::run) |
//! | `daemon_threads` | the [drain timeout](crate::Machine::set_drain_timeout), after which connections are aborted |
//! | `service_actions` | [`prepare_interval`](crate::Machine::prepare_interval) |
//!
//! # The parts that stay
//!
//! - Each client has its own thread and its own handler, and a handler may block.
//! - A conversation is a loop that reads from one value and writes to another one.
//! - Shared state has a lock. In Rust, the compiler refuses state that is shared without one.
//!
//! # The parts that go
//!
//! - The set of connections and the code that wakes them. `shutdown` ends only the loop that accepts, and then
//!   `server_close` waits for the threads of all clients. A client that is silent delays that until its timeout.
//! - The choice between a stop that waits too long and `daemon_threads`, which cuts off answers.
//! - The thread for `shutdown`, and the loop that looks for a stop every half second.
//! - A number of clients without a limit. A full server makes new clients wait, or
//!   [refuses](super::servers#a-full-server) them.
//! - The interpreter lock that all threads share. In Rust, clients are served on all processors at the same time.
//!
//! # When to stay with `socketserver`
//!
//! Stay if the server is a tool for a moment, if it is a test's fake server, or if the handler needs Python's
//! libraries. `socketserver` also has UDP and a process for each client. Backport has neither, but you can
//! [write a UDP server](super::servers#your-own-server).
