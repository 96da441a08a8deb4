//! How a conversation ends: the causes, the order of events, and the output that still arrives.
//!
//! # Causes
//!
//! - The peer ends its output, resets the connection or vanishes.
//! - Your code calls [`close`] or [`abort`], [`serving`] returns, or a callback fails or panics.
//! - A [time limit](super::deadlines) or the limit of the backlog is reached.
//! - The server or the machine [stops](super::stopping).
//!
//! Input and output end separately. Most causes end the input first and leave the output open for the last
//! answer.
//!
//! # The order of events
//!
//! A stop asks every client to end, and cuts nothing off. These steps follow one another:
//!
//! 1. The listeners close, and new clients are refused. Intervals and timeouts are cancelled.
//! 2. The input of each client ends, and the functions of [`on_close`] run. Requests that were received but
//!    not yet passed to a callback are dropped. If a client has a [hold](#holds), this step waits for the hold.
//! 3. Running callbacks finish. Their output is delivered, and so is output of other threads.
//! 4. [`closing`] is called with the reason [`Stopping`], and may write a goodbye. All other writes fail from
//!    now on. Then the adapter is dropped.
//! 5. The output is [delivered](#delivered-output), and the connection is closed.
//! 6. All threads are joined.
//! 7. [`Machine::run`] returns `Ok`.
//!
//! A single client that ends takes steps 2 to 5 with its own reason. After [`close`], writes of a callback
//! that is still running fail. In a stop they succeed, so the peer of this program gets its answer:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::sync::mpsc::{channel, Receiver, Sender};
//! use backport::{testing, Adapter, Client, Closing, Result};
//!
//! struct Slow {
//!     begun: Sender<()>,
//!     result: Receiver<&'static str>,
//! }
//!
//! impl Adapter for Slow {
//!     fn receiving(&mut self, client: &Client, _: &[u8]) -> Result {
//!         self.begun.send(())?;
//!         client.write_line(self.result.recv()?)?; // waits for the result
//!         Ok(())
//!     }
//!
//!     fn closing(&mut self, client: &Client, reason: &Closing) {
//!         if matches!(reason, Closing::Stopping) {
//!             // This fails only if the peer has already disconnected.
//!             let _ = client.write_line("goodbye");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result {
//! let ((begun, has_begun), (compute, result)) = (channel(), channel());
//! let mut client = testing::connect(Slow { begun, result });
//! client.write_all(b"go")?;
//! has_begun.recv()?;
//! client.server().stop(); // while `receiving` runs
//! compute.send("42")?;
//! let mut said = String::new();
//! client.read_to_string(&mut said)?;
//! assert_eq!(said, "42\ngoodbye\n");
//! # Ok(())
//! # }
//! ```
//!
//! # All endings
//!
//! The table uses these words:
//!
//! - If the input *ends*, no further `receiving` starts, and [reads](#reads) return at once.
//! - If the output is *open*, all threads may write until `closing` begins. After that, only `closing` may.
//! - If the output is *refused*, writes fail with [`BrokenPipe`](std::io::ErrorKind::BrokenPipe), except in
//!   `closing`. Earlier output is delivered.
//! - If the output is *dropped*, all writes fail, also in `closing`. Output that is not delivered yet is lost.
//! - A peer that sees *everything* reads all output, and then the end of the stream.
//!
//! | cause | input | output | `closing` gets | the peer sees |
//! |---|---|---|---|---|
//! | the peer ends its output | reads return all of it, then its end | open | [`ByPeer`] | everything |
//! | the peer resets the connection | reads fail with the error of the system | dropped | [`Lost`] | – |
//! | [`close`] | ends | refused | [`ByServer`] | everything |
//! | [`close_write`] | continues | refused, also in `closing` | the reason of the later end | everything, and can still send |
//! | [`abort`] | ends | dropped | [`ByServer`] | a reset |
//! | [`serving`] returns `Ok` | the rest is dropped | open | [`ByServer`], or [`ByPeer`] if a read has reached the end | everything |
//! | a callback fails or panics | the rest is dropped | refused | [`Failed`], [`Lost`] or [`Panicked`] | everything |
//! | idle timeout | the read fails with `TimedOut` | refused | [`Idle`] | everything |
//! | write timeout, full backlog | ends | dropped; `write` fails with `TimedOut`, `post` with `WouldBlock` | [`TooSlow`] | a reset |
//! | stop of the server or machine | ends | open | [`Stopping`] | everything |
//! | the same while a [hold](#holds) exists | continues until the last hold is dropped | open | [`Stopping`] | everything |
//! | drain | continues | open | the reason of the client's own end | everything |
//! | limit of a drain | the same as in a stop | open | [`Stopping`] | everything |
//! | drain timeout, [`stop_now`] | ends | dropped | [`Stopping`] | a reset |
//!
//! A peer whose system already has all output sees the normal end of the stream instead of a reset. If several
//! causes come together, the [first reason](crate::Closing) counts.
//!
//! # Reads
//!
//! When the server closes a client or stops, a blocked read returns at once:
//!
//! - [`chunk`] and [`frame`] return `None`, as at the end of input. The default [`serving`] then returns.
//! - The methods of [`Read`](std::io::Read) and [`BufRead`](std::io::BufRead) fail with
//!   [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted), also through [`stream`]. If your code passes
//!   this error on with `?`, `closing` still gets the reason of the close or stop.
//!
//! Therefore half a message never looks complete. Here the stop comes in the middle of a command:
//!
//! ```
//! use std::io::{BufRead, Read, Write};
//! use std::sync::mpsc::{channel, Sender};
//! use backport::{testing, Adapter, Client, Closing, Input, Result};
//!
//! struct Files {
//!     deleted: Sender<String>,
//! }
//!
//! impl Adapter for Files {
//!     fn serving(&mut self, _: &Client, input: &mut Input) -> Result {
//!         let mut command = String::new();
//!         while input.take(1024).read_line(&mut command)? > 0 {
//!             self.deleted.send(std::mem::take(&mut command))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let (deleted, all_deleted) = channel();
//! let mut client = testing::connect(Files { deleted });
//! client.write_all(b"delete data/a")?; // the line should become: delete data/abc
//! client.server().stop();
//! assert!(matches!(client.ended(), Closing::Stopping));
//! assert_eq!(all_deleted.iter().count(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! The *peer* can also end its output within a message, and `read_line` then returns a line without a line
//! end. A line that ends in `\n` is complete, and [`frame`] returns only complete messages. (`Lines` accepts a
//! last line without a line end.)
//!
//! # Holds
//!
//! A client ends when its peer has ended its output and the callbacks have returned. If another thread still
//! computes an answer, that answer would come too late. [`Client::hold`] returns a guard that keeps the
//! conversation open:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::thread;
//! use backport::{framing::Lines, receiving, testing, Adapter};
//!
//! # fn main() -> std::io::Result<()> {
//! let squares = receiving(|client, line| {
//!     let number: u64 = std::str::from_utf8(line)?.parse()?;
//!     let reply = client.hold(); // before the thread starts
//!     thread::spawn(move || reply.write_line((number * number).to_string()));
//!     Ok(())
//! });
//! let mut client = testing::connect(squares.framed(Lines::default()));
//! client.write_all(b"3\n")?;
//! client.close_write(); // as `nc -N` does
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "9\n");
//! # Ok(())
//! # }
//! ```
//!
//! While a [`Hold`] exists, neither the end of the peer's output nor a graceful stop ends the conversation.
//! The client is served as before, and `receiving` gets new requests. All other causes in the table end the
//! conversation.
//!
//! - Take no new hold if [`is_stopping`] returns `true`. If holds always overlap, a stop has to wait until the
//!   drain timeout.
//! - Limit the time of the work behind a hold. When the peer has ended its output, no thread reads, so the idle
//!   timeout does not apply. On Unix a reset is noticed even then. On Windows only a write notices it.
//! - A thread that panics drops its hold, like every other value.
//! - Do not keep a hold in the adapter. The adapter is dropped after `closing`, so the conversation would
//!   wait for itself.
//!
//! # Waking a callback that waits for something else
//!
//! A stop and a close wake a callback that waits for its own client. They cannot wake a callback that waits
//! for a channel or for another connection. [`on_close`] registers a function that does it:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
//! use backport::{testing, Adapter, Client, Closing, Input, Result};
//!
//! /// Passes requests on to another server.
//! struct Gateway {
//!     backend: SocketAddr,
//! }
//!
//! impl Adapter for Gateway {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         let mut backend = TcpStream::connect(self.backend)?;
//!         let waker = backend.try_clone()?;
//!         // This fails only if the backend has already disconnected.
//!         client.on_close(move || drop(waker.shutdown(Shutdown::Both)));
//!         let mut answer = [0; 4096];
//!         while let Some(request) = input.chunk()? {
//!             backend.write_all(request)?;
//!             let count = backend.read(&mut answer)?; // waits for the other server
//!             client.write(&answer[..count])?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let listener = TcpListener::bind("localhost:0")?;
//! let mut client = testing::connect(Gateway { backend: listener.local_addr()? });
//! client.write_all(b"question")?;
//! let (mut silent, _) = listener.accept()?;
//! silent.read_exact(&mut [0; 8])?; // the backend gets the question and never answers
//! client.server().stop();
//! assert!(matches!(client.ended(), Closing::Stopping));
//! # Ok(())
//! # }
//! ```
//!
//! The function runs once, before `closing`, on the thread that ends the connection, and must not block. It is
//! kept until then, so register one function for each connection and not one for each request. If a hold
//! exists, a stop calls it when the last hold is dropped.
//!
//! # A callback that only writes
//!
//! In a stop the output stays open. Therefore a loop that only writes does not notice the stop, and would run
//! until the drain timeout. Check [`Client::is_stopping`] between two writes:
//!
//! ```
//! use std::io::Read;
//! use backport::{testing, Adapter, Client, Input, Result};
//!
//! struct Numbers;
//!
//! impl Adapter for Numbers {
//!     fn serving(&mut self, client: &Client, _: &mut Input) -> Result {
//!         let mut number = 0;
//!         while !client.is_stopping() {
//!             client.write_line(number.to_string())?;
//!             number += 1;
//!         }
//!         client.write_line("the end")?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut client = testing::connect(Numbers);
//! client.read_exact(&mut [0; 100])?;
//! client.server().stop();
//! let mut rest = String::new();
//! client.read_to_string(&mut rest)?;
//! assert!(rest.ends_with("\nthe end\n"));
//! # Ok(())
//! # }
//! ```
//!
//! `is_stopping` and [`is_closed`] are not the same. In a stop, `is_stopping` returns `true` at once, and
//! `is_closed` returns `true` when `closing` begins. In a drain, both return `false`. A loop that waits
//! between two writes can be woken with [`on_close`].
//!
//! # Half-closes
//!
//! [`close_write`] ends only the output. The peer reads everything and then the end of the stream, and can
//! still send:
//!
//! ```
//! use std::io::{Read, Write};
//! use backport::{testing, Adapter, Client, Closing, Input, Result};
//!
//! struct Report;
//!
//! impl Adapter for Report {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         client.write("the report\n")?;
//!         client.close_write();
//!         let mut comment = String::new();
//!         input.take(1024).read_to_string(&mut comment)?;
//!         assert_eq!(comment, "thanks");
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut client = testing::connect(Report);
//! let mut report = String::new();
//! client.read_to_string(&mut report)?; // the output has ended, and the connection is open
//! client.write_all(b"thanks")?;
//! assert!(matches!(client.finish(), Closing::ByPeer));
//! # Ok(())
//! # }
//! ```
//!
//! # Delivered output
//!
//! Output is *accepted* when its `write` or `post` has returned `Ok`. Accepted output reaches a peer that keeps
//! reading, however slowly. It does not matter which thread closes the client, or whether input is unread. The
//! delivery has these limits:
//!
//! | limit | applies |
//! |---|---|
//! | 1 s in which the peer takes nothing | always |
//! | 5 s in total after `closing` | except in a stop |
//! | the [drain timeout](crate::Machine::set_drain_timeout) | in a stop |
//!
//! If a limit cuts output off, the log has a warning, at most one in 10 s for each server. At the drain
//! timeout, the warning names the clients. An abort and the reasons [`Lost`] and [`TooSlow`] drop the output
//! without this warning. The documentation of [`StdioServer`](crate::StdioServer) has the limits for its
//! reader.
//!
//! *Delivered* means that the peer's system has the output, as far as this side can tell. No server can know
//! whether the program there has read it. If your protocol must know that, let the peer acknowledge it. If the
//! peer has already ended its output, the connection is closed as soon as the kernel has all output. The kernel
//! then delivers it without a limit of this crate.
//!
//! [`chunk`]: crate::Input::chunk
//! [`frame`]: crate::Input::frame
//! [`stream`]: crate::Input::stream
//! [`closing`]: crate::Adapter::closing
//! [`serving`]: crate::Adapter::serving
//! [`abort`]: crate::Client::abort
//! [`close`]: crate::Client::close
//! [`close_write`]: crate::Client::close_write
//! [`is_closed`]: crate::Client::is_closed
//! [`is_stopping`]: crate::Client::is_stopping
//! [`on_close`]: crate::Client::on_close
//! [`Client::hold`]: crate::Client::hold
//! [`Client::is_stopping`]: crate::Client::is_stopping
//! [`Hold`]: crate::Hold
//! [`Machine::run`]: crate::Machine::run
//! [`stop_now`]: crate::Machine::stop_now
//! [`ByPeer`]: crate::Closing::ByPeer
//! [`ByServer`]: crate::Closing::ByServer
//! [`Failed`]: crate::Closing::Failed
//! [`Idle`]: crate::Closing::Idle
//! [`Lost`]: crate::Closing::Lost
//! [`Panicked`]: crate::Closing::Panicked
//! [`Stopping`]: crate::Closing::Stopping
//! [`TooSlow`]: crate::Closing::TooSlow
