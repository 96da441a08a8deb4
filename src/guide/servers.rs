//! Servers: TCP, standard input and output, servers of your own, and embedding.
//!
//! # TCP
//!
//! [`Machine::prepare_tcp_server`] listens on every address that a name resolves to, on one port.
//! [`TcpServer`] has a method for each [setting](super::limits). It can also [take a
//! listener](crate::TcpServer::from_listener) that is already bound.
//!
//! ```
//! use std::time::Duration;
//! use backport::{receiving, Machine, TcpServer};
//!
//! # fn main() -> backport::Result {
//! let machine = Machine::new();
//! let echo = || receiving(|client, data| Ok(client.write(data)?));
//! let server = TcpServer::new("localhost:0", echo)
//!     .max_clients(100)
//!     .idle_timeout(Duration::from_secs(300));
//! let handle = machine.prepare(server)?;
//! assert_ne!(handle.local_addr().port(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! The handle has these methods, among others:
//!
//! - [`clients`](crate::ServerHandle::clients) lists the clients, and [`client`](crate::ServerHandle::client)
//!   finds one by its number.
//! - [`broadcast`](crate::ServerHandle::broadcast) sends data to all clients and waits for none of them.
//! - [`suspend`](crate::ServerHandle::suspend) stops accepting clients until
//!   [`resume`](crate::ServerHandle::resume).
//! - [`stop`](crate::ServerHandle::stop) stops this server alone. [`drain`](crate::ServerHandle::drain)
//!   closes only its listeners, for a [restart](super::stopping#a-restart).
//! - [`stats`](crate::ServerHandle::stats) returns counts of clients, bytes and the reasons of ends.
//!   [`Client::stats`](crate::Client::stats) says what a client does: for how long it has sent nothing, and for how
//!   long its adapter is in a callback.
//!
//! # A full server
//!
//! A server serves at most [`max_clients`](crate::TcpServer::max_clients) at once. By default, more clients
//! wait in the kernel's queue until a place is free. This is right for clients that come again and again for a
//! short time. A client that waits cannot tell a full server from a slow network.
//!
//! With [`Full::Refuse`], a full server sends a message and closes the connection. The client knows at once
//! that it should come back later, or go to another server:
//!
//! ```
//! use backport::{receiving, Full, TcpServer};
//!
//! let echo = || receiving(|client, data| Ok(client.write(data)?));
//! let server = TcpServer::new("localhost:0", echo)
//!     .max_clients(100)
//!     .when_full(Full::Refuse("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n".into()));
//! ```
//!
//! # Two servers that share state
//!
//! One machine can have several servers, and each can reach the clients of the others. This console for an
//! administrator lists the clients of a chat and closes one of them. In a real program, the console listens on a
//! [Unix socket](super::transports#unix-sockets):
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpStream;
//! use backport::framing::Lines;
//! use backport::{receiving, Adapter, Client, Machine, Result, ServerHandle};
//!
//! struct Console {
//!     chat: ServerHandle,
//! }
//!
//! impl Adapter for Console {
//!     fn receiving(&mut self, console: &Client, line: &[u8]) -> Result {
//!         let line = String::from_utf8_lossy(line);
//!         let mut clients = self.chat.clients().into_iter();
//!         match line.split_once(' ').unwrap_or((&line, "")) {
//!             ("list", _) => {
//!                 for client in clients {
//!                     let stats = client.stats();
//!                     let (idle, bytes) = (stats.idle_for.as_secs(), stats.bytes_in);
//!                     let remote = client.remote();
//!                     console.write_line(format!("{} {remote}: idle {idle} s, {bytes} B", client.id()))?;
//!                 }
//!             }
//!             ("kick", id) => match clients.find(|client| client.id().to_string() == id) {
//!                 Some(client) => client.close(),
//!                 None => console.write_line("there is no such client")?,
//!             },
//!             _ => console.write_line("list, or kick ID")?,
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! let chat = machine.prepare_tcp_server("localhost:0", || {
//!     receiving(|client: &Client, line| Ok(drop(client.server().broadcast(line))))
//! })?;
//! let handle = ServerHandle::clone(&chat);
//! let console = machine.prepare_tcp_server("localhost:0", move || {
//!     Console { chat: handle.clone() }.framed(Lines::default())
//! })?;
//! let running = machine.start()?;
//!
//! let mut member = TcpStream::connect(chat.local_addr())?;
//! member.write_all(b"hello")?;
//! while chat.clients().is_empty() {
//!     std::thread::yield_now();
//! }
//! let mut console = TcpStream::connect(console.local_addr())?;
//! console.write_all(b"list\n")?;
//! let mut line = String::new();
//! BufReader::new(console.try_clone()?).read_line(&mut line)?;
//! let (id, _) = line.split_once(' ').unwrap();
//! writeln!(console, "kick {id}")?;
//! std::io::copy(&mut member, &mut std::io::sink())?; // the server has closed it
//! running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Standard input and output
//!
//! A [`StdioServer`] has one client: the program that started this process. The end of standard input ends
//! the server. A process can have only one stdio server at a time.
//!
//! - The reader of the output may pause for as long as it likes. Only a stop has a limit.
//! - On Unix, other code of the process cannot damage the protocol. While the server runs, `println!` prints
//!   to standard error, and a child process gets an empty input. The documentation of [`StdioServer`] has the
//!   details, and [`keep_descriptors`](crate::StdioServer::keep_descriptors) turns this off.
//! - If a callback fails or panics, [`Backport::run`] returns an error. If `main` returns that error, the
//!   program prints a message and ends with status 1.
//! - Standard input and output can be one TCP connection, as under inetd. The last output is then as safe as
//!   with a TCP server.
//!
//! ```no_run
//! use backport::{receiving, Backport};
//!
//! fn main() -> backport::Result {
//!     Backport::run(|machine| {
//!         machine.prepare_stdio_server(|| receiving(|client, data| Ok(client.write(data)?)))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # A server inside another program
//!
//! [`Backport::run`] blocks its thread and handles signals. [`Machine::start`] does neither: it runs the
//! machine on another thread and returns at once. It returns a [`Running`], which stops the machine when it
//! is dropped. The example `embedded` has its own main loop.
//!
//! # Your own server
//!
//! A machine runs every type that implements [`Server`]: for example a UDP server, a serial port or a file
//! watcher. A server gets a [`Control`], with which it starts its threads and learns when to stop. The
//! documentation of [`Server`] and the example `udp` show complete servers.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Control`]: crate::Control
//! [`Full::Refuse`]: crate::Full::Refuse
//! [`Machine`]: crate::Machine
//! [`Machine::prepare_tcp_server`]: crate::Machine::prepare_tcp_server
//! [`Machine::start`]: crate::Machine::start
//! [`Running`]: crate::Running
//! [`Server`]: crate::Server
//! [`StdioServer`]: crate::StdioServer
//! [`TcpServer`]: crate::TcpServer
