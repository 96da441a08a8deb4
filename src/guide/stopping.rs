//! Stopping: the causes of a stop, its duration, and restarts that lose no connection.
//!
//! # What starts a stop
//!
//! - [`Machine::stop`], from any thread or callback. It returns at once.
//! - The first Ctrl-C or SIGTERM, if the machine runs in [`Backport::run`]. [`Backport::stop`] does the
//!   same from code.
//! - The end of the last server. For example, a stdio server ends when standard input ends.
//! - The end of the last interval, if the machine never had a server.
//! - Dropping the last handle of the machine, or its [`Running`].
//! - The limit of a [drain](#a-restart).
//!
//! [`ServerHandle::stop`](crate::ServerHandle::stop) stops one server in the same way. Calling `stop` again
//! does nothing, so several threads may call it.
//!
//! A stop closes the listeners, ends the input of each client, lets running callbacks finish and calls
//! `closing`. The page [`endings`](super::endings#the-order-of-events) describes all steps, and their effect on
//! the input and output of a client.
//!
//! # How long it takes
//!
//! A stop does not wait for clients that are silent or for intervals that are not due. Only three things can
//! delay it: a peer that reads slowly, a [hold](super::endings#holds), and a callback that does not return.
//!
//! All of them have until the [drain timeout](crate::Machine::set_drain_timeout), which is 5 s by default.
//! After that, the remaining connections are aborted, and a warning names their clients. A call of
//! [`Machine::stop_now`] aborts them at once.
//!
//! A thread that is stuck in your code cannot be killed. [`Machine::run`] then returns [`Error::Stuck`] about
//! half a second later, and the thread keeps running. The error names the client that the thread serves.
//!
//! - A long computation can call [`Client::is_stopping`](crate::Client::is_stopping) now and then, and return
//!   early.
//! - [`Client::on_close`](crate::Client::on_close) wakes a callback that waits for something else.
//!
//! # Signals
//!
//! Only [`Backport::run`] handles signals. A second Ctrl-C or SIGTERM ends the process at once, with the
//! status 128 plus the number of the signal, which is 130 for Ctrl-C. Signals that come within a tenth of a
//! second of each other count as one. The page [`platforms`](super::platforms) lists the signals of each
//! system.
//!
//! A signal that is ignored when the process starts stays ignored. A shell script starts a job with `&` in this way,
//! so SIGINT does not stop that job. SIGTERM does.
//!
//! # A restart
//!
//! A stop answers each request whose callback has begun. A request that waits in a buffer gets no answer. If
//! every request must be answered, hand the listener to the next process, and then *drain* the old one. A drain
//! closes the listeners. It serves all clients that were already accepted until they end by themselves. After a
//! limit, it stops the clients that are left.
//!
//! In this program, two machines stand for the two processes:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//! use backport::{receiving, Machine, Result, Running, TcpServer};
//!
//! fn serve(listener: TcpListener) -> Result<Running> {
//!     let machine = Machine::new();
//!     let echo = || receiving(|client, data| Ok(client.write(data)?));
//!     machine.prepare(TcpServer::from_listener(listener, echo))?;
//!     machine.start()
//! }
//!
//! fn ask(peer: &mut TcpStream) -> Result {
//!     peer.write_all(b"hello")?;
//!     let mut reply = [0; 5];
//!     peer.read_exact(&mut reply)?;
//!     assert_eq!(&reply, b"hello");
//!     Ok(())
//! }
//!
//! # fn main() -> Result {
//! let listener = TcpListener::bind("localhost:0")?;
//! let address = listener.local_addr()?;
//! let old = serve(listener.try_clone()?)?;
//! let mut peer = TcpStream::connect(address)?;
//! ask(&mut peer)?;
//!
//! let new = serve(listener)?;
//! old.machine().drain(Duration::from_secs(60)); // returns at once
//! ask(&mut peer)?; // the old machine still serves its client
//! ask(&mut TcpStream::connect(address)?)?;
//!
//! drop(peer);
//! old.join()?; // its last client has ended
//! new.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! - The listener must not be closed at any time. Pass its descriptor to the next process, for example as its
//!   standard input or with the crate `listenfd`. A service manager such as systemd can hold it, too.
//! - Start the next process before you drain the old one. The kernel's queue belongs to the listener, so a
//!   connection that waits there is accepted by the next process.
//! - A client that is idle between two requests keeps the old process alive until the limit. Let your protocol
//!   tell such clients to connect again. [`ServerHandle::is_stopped`](crate::ServerHandle::is_stopped) returns
//!   `true` during a drain.
//! - Behind a load balancer, [another process takes the new clients](super::outgrowing#a-restart-of-one-node).
//! - [`Machine::drain`] drains all servers of a machine, and intervals continue until the machine stops.
//!   [`ServerHandle::drain`](crate::ServerHandle::drain) drains one server.
//!
//! [`Backport::run`]: crate::Backport::run
//! [`Backport::stop`]: crate::Backport::stop
//! [`Error::Stuck`]: crate::Error::Stuck
//! [`Machine::drain`]: crate::Machine::drain
//! [`Machine::run`]: crate::Machine::run
//! [`Machine::stop`]: crate::Machine::stop
//! [`Machine::stop_now`]: crate::Machine::stop_now
//! [`Running`]: crate::Running
