//! Transports: the connections that can carry a conversation, with one program for each.
//!
//! An adapter does not know what carries its bytes. The same adapter serves every transport on this page, and
//! the promises about [writes](super::writing), [endings](super::endings) and [stops](super::stopping) are the
//! same.
//!
//! | a client comes through | server | needs |
//! |---|---|---|
//! | TCP | [`TcpServer`](crate::TcpServer) | |
//! | a Unix socket | `UnixServer` | Unix |
//! | an encrypted connection | [`TcpServer::tls`](#tls), `UnixServer::tls` | the feature `tls` |
//! | a load balancer that sends the PROXY header | [`TcpServer::proxy_protocol`](#behind-a-load-balancer) | |
//! | a connection that this program opens | [`TcpClient`](#outgoing-connections) | |
//! | a socket that is already connected | [`Machine::serve`](#a-socket-that-is-already-connected) | |
//! | standard input and output | [`StdioServer`](crate::StdioServer) | |
//! | another transport | [your own server](super::servers#your-own-server) | |
//!
//! # Unix sockets
//!
//! A Unix socket is a file that only programs on the same computer can connect to. The permissions of the file
//! decide who may connect.
//!
#![cfg_attr(unix, doc = "```no_run")]
#![cfg_attr(not(unix), doc = "```text")]
//! use backport::{receiving, Backport, Client, Remote, UnixServer};
//!
//! fn main() -> backport::Result {
//!     let answer = || {
//!         receiving(|client: &Client, data| {
//!             if let Remote::Unix { credentials: Some(peer), .. } = client.remote() {
//!                 client.write(format!("user {} said: ", peer.uid))?;
//!             }
//!             Ok(client.write(data)?)
//!         })
//!     };
//!     Backport::run(|machine| {
//!         machine.prepare(UnixServer::new("/tmp/answer.socket", answer).mode(0o600))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Talk to it with `nc -U /tmp/answer.socket`.
//!
//! - The mode is set before the first client can connect. With the mode 600, only the user of the server and the
//!   administrator of the computer can connect.
//! - The file of a server that has crashed is replaced. The file of a server that runs is an error of kind
//!   [`AddrInUse`](std::io::ErrorKind::AddrInUse). A file that is no socket is never deleted.
//! - The file is removed when the server stops, unless another program has replaced it.
//! - On Linux, a name can also be abstract, which needs no file.
//!
//! # TLS
//!
//! With the feature `tls`, every server with a listener can encrypt its connections. This crate uses rustls
//! and leaves the choice of the crypto provider to you. [`tls`](crate::tls) has the lines for your
//! `Cargo.toml`.
//!
#![cfg_attr(feature = "tls", doc = "```no_run")]
#![cfg_attr(not(feature = "tls"), doc = "```text")]
//! use backport::{receiving, tls, Backport, Client, TcpServer};
//!
//! fn main() -> backport::Result {
//!     let config = tls::server_config("certificate.pem", "key.pem")?;
//!     let echo = || {
//!         receiving(|client: &Client, data| {
//!             if let Some(tls) = client.tls() {
//!                 println!("{:?} with {:?}", tls.version(), tls.cipher());
//!             }
//!             Ok(client.write(data)?)
//!         })
//!     };
//!     Backport::run(|machine| {
//!         machine.prepare(TcpServer::new("localhost:8443", echo).tls(config))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Talk to it with `openssl s_client -connect localhost:8443 -quiet`. These points differ from plain text:
//!
//! - **The handshake** comes before `opening`, on the client's thread. A client whose handshake fails or takes
//!   longer than the handshake timeout (10 s) gets no adapter. It counts in
//!   [`ServerStats::handshakes_failed`](crate::ServerStats::handshakes_failed). A client in its handshake counts
//!   against the limit of clients, and a stop ends the handshake at once.
//! - **The end of input** must be announced (close_notify), because otherwise an attacker could cut a message.
//!   A connection that ends without it is [`Lost`](crate::Closing::Lost) with the kind
//!   [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof). Many HTTP clients and Python's `close` without `unwrap`
//!   do not announce it. If your messages have a length of their own, treat this reason like
//!   [`ByPeer`](crate::Closing::ByPeer).
//! - **The end of output** is announced on every path but an abort.
//! - **A new certificate** needs no restart: call [`ServerHandle::set_tls`](crate::ServerHandle::set_tls).
//! - **A client that never reads** and then closes may reset the connection, because TLS 1.3 sends tickets
//!   after the handshake. Its last bytes can then be lost. Set `send_tls13_tickets` of the configuration to 0 for
//!   such clients.
//! - **Protocols** (ALPN) are not named by default. If the configuration names some, a client that offers only
//!   others is refused.
//! - **Sessions** are resumed within one process. The default cache has 256 entries, and each connection takes
//!   two. A busy server should set the `ticketer` of the configuration.
//! - **A full server** with [`Full::Refuse`](crate::Full::Refuse) closes the connection without a message.
//!
//! ## Plain text first
//!
//! Some protocols, such as SMTP, begin in plain text and switch to TLS after a command (STARTTLS). Prepare the
//! server with [`start_tls`](crate::TcpServer::start_tls) instead of `tls`, and call
//! [`Client::start_tls`](crate::Client::start_tls) in a callback:
//!
#![cfg_attr(feature = "tls", doc = "```")]
#![cfg_attr(not(feature = "tls"), doc = "```text")]
//! use std::io::BufRead;
//! use backport::{Adapter, Client, Input, Result};
//!
//! struct Mail;
//!
//! impl Adapter for Mail {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         client.write_line("220 ready\r")?;
//!         loop {
//!             let mut line = String::new();
//!             if input.read_line(&mut line)? == 0 {
//!                 return Ok(());
//!             }
//!             match line.trim_end() {
//!                 "STARTTLS" if client.tls().is_none() => {
//!                     client.write_line("220 go ahead\r")?;
//!                     client.start_tls()?;
//!                 }
//!                 "QUIT" => return Ok(client.write_line("221 bye\r")?),
//!                 _ => client.write_line("250 STARTTLS\r")?,
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! Commands that arrive in plain text together with the command never count as encrypted: `start_tls` then ends
//! the connection. Its documentation says what an adapter must take care of.
//!
//! # Behind a load balancer
//!
//! A load balancer such as HAProxy connects to this server itself, so every client would have its address. With
//! the PROXY protocol (version 1 or 2) it sends a header first, which names the real client:
//!
//! ```no_run
//! use backport::{receiving, Backport, TcpServer};
//!
//! fn main() -> backport::Result {
//!     let hello = || {
//!         receiving(|client, _| {
//!             Ok(write!(client, "hello {}, through {:?}\n", client.remote(), client.proxy())?)
//!         })
//!     };
//!     Backport::run(|machine| {
//!         // Only the load balancer on this computer may say who a client is.
//!         machine.prepare(TcpServer::new("localhost:8000", hello).proxy_protocol(|ip| ip.is_loopback()))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! - Every connection must have the header. The server never guesses.
//! - The closure says which addresses are trusted. Another sender is closed before `opening`, with at most one
//!   warning in 10 s.
//! - [`Client::remote`](crate::Client::remote) is the real client, and
//!   [`Client::proxy`](crate::Client::proxy) the load balancer. For a health check, `remote` stays the load
//!   balancer.
//! - With TLS, the header comes before the handshake. The handshake timeout bounds both together.
//!
//! # Outgoing connections
//!
//! A [`TcpClient`](crate::TcpClient) is a server that connects instead of listening. The same adapter serves the
//! connection, for example to a message broker. When the connection ends, the server connects again, with a
//! growing delay:
//!
//! ```no_run
//! use std::time::Duration;
//! use backport::{framing::Lines, Adapter, Backport, Client, Result, TcpClient};
//!
//! struct Subscriber;
//!
//! impl Adapter for Subscriber {
//!     fn opening(&mut self, client: &Client) -> Result {
//!         Ok(client.write_line("SUBSCRIBE news")?)
//!     }
//!
//!     fn receiving(&mut self, _: &Client, line: &[u8]) -> Result {
//!         println!("{}", String::from_utf8_lossy(line));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result {
//!     Backport::run(|machine| {
//!         let factory = || Subscriber.framed(Lines::default());
//!         // A broker that is silent for a minute is gone.
//!         machine.prepare(TcpClient::new("broker:4222", factory).idle_timeout(Duration::from_secs(60)))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! - The factory makes a new adapter for each connection.
//! - The delays grow from 100 ms to 30 s and are random, so that many programs do not come back at the same
//!   moment. They start again after a connection that has lived for as long as the delay.
//! - The name is resolved for each attempt. If it has several addresses, the next one is tried after 250 ms
//!   ([RFC 8305](https://www.rfc-editor.org/rfc/rfc8305)).
//! - A stop ends an attempt and a delay at once.
//! - The page [`outgrowing`](super::outgrowing#the-connection-to-redis) has a heartbeat for such a connection.
//!
//! # A socket that is already connected
//!
//! [`Machine::serve`](crate::Machine::serve) serves a connected socket, for example one end of a pair that a
//! child process has the other end of. It takes the adapter itself instead of a factory:
//!
//! ```
//! use std::io::Read;
//! use std::net::{TcpListener, TcpStream};
//! use backport::{Adapter, Client, Machine, Result};
//!
//! struct Greeter;
//!
//! impl Adapter for Greeter {
//!     fn opening(&mut self, client: &Client) -> Result {
//!         client.write("hello")?;
//!         client.close();
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let listener = TcpListener::bind("localhost:0")?;
//! let mut peer = TcpStream::connect(listener.local_addr()?)?;
//! let machine = Machine::new();
//! machine.serve(listener.accept()?.0, Greeter)?;
//! let running = machine.start()?;
//! let mut greeting = String::new();
//! peer.read_to_string(&mut greeting)?;
//! assert_eq!(greeting, "hello");
//! # drop(peer);
//! running.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! The example `proxy` uses it for the other side of each connection. It copies with
//! [`Input::copy_to`](crate::Input::copy_to), and passes on the end of each direction with
//! [`Client::close_write`](crate::Client::close_write).
//!
//! # A listener from another process
//!
//! A service manager such as systemd can open the listener and start the program when the first client comes.
//! [`TcpServer::from_listener`](crate::TcpServer::from_listener) takes such a listener. In the same way, a
//! process can hand its listener to its successor, wait until the successor is ready, and
//! [drain](crate::ServerHandle::drain) its own server. No connection is refused or cut. The example
//! `handover` in `examples/protocols` does both.
