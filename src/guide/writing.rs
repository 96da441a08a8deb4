//! Writing: `write`, `post`, corks, and writing from other threads.
//!
//! A [`Client`] is a handle. It can be cloned, sent to other threads and kept for as long as you like. After
//! the connection has ended, the handle does not keep the socket open, and writes fail with
//! [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
//!
//! | method | blocks | notes |
//! |---|---|---|
//! | [`write`], [`write_line`], [`write_vectored_all`], [`write_frame`], `write!` | while the peer does not read, at most for the write timeout | sends one record |
//! | [`post`] | never | sends one record; data that the socket does not take waits in a backlog |
//! | [`cork`] | not itself, but its guard blocks when it drops or flushes | gathers records |
//! | [`close`] | never | data that was written before is still delivered |
//! | [`abort`] | never | drops data that is not delivered yet |
//! | [`id`](crate::Client::id), [`remote`](crate::Client::remote), [`is_closed`](crate::Client::is_closed), [`stats`](crate::Client::stats) | never | |
//!
//! # Records
//!
//! Each call sends one *record*. Records from several threads never mix, and all records are sent in the
//! order of the calls. A [`write`] returns when the kernel has taken the whole record, so a slow peer slows
//! down the caller. A [`post`] returns at once.
//!
//! Posted data that the socket does not take at once waits in the client's backlog until the peer reads. If
//! the backlog would exceed [`max_backlog`](crate::TcpServer::max_backlog), the client ends as
//! [`TooSlow`](crate::Closing::TooSlow) and its waiting data is dropped. No other client is affected.
//!
//! # Several records in one system call
//!
//! [`cork`] returns a guard. While the guard exists, all output to the client is gathered, including the
//! output of other threads. It is sent when the guard drops. Call [`Corked::flush`] to get the error if that
//! fails. Corks can be nested. The output is then sent when the last guard drops.
//!
//! ```
//! use std::io::{Read, Write};
//! use backport::{receiving, testing};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut client = testing::connect(receiving(|client, _| {
//!     let corked = client.cork();
//!     for row in 0..3 {
//!         client.write_line(row.to_string())?;
//!     }
//!     corked.flush()?;
//!     Ok(())
//! }));
//! client.write_all(b"go")?;
//! let mut reply = [0; 100];
//! let count = client.read(&mut reply)?; // one read gets all three lines
//! assert_eq!(&reply[..count], b"0\n1\n2\n");
//! # Ok(())
//! # }
//! ```
//!
//! # Writing from other threads
//!
//! Any thread may write to a client: your own threads, the job of an interval, or the callback of another
//! client. The handle of a server knows all clients, and its [`broadcast`](crate::ServerHandle::broadcast)
//! posts to each of them:
//!
//! ```
//! use std::io::{BufRead, BufReader};
//! use std::thread;
//! use backport::{receiving, testing};
//!
//! # fn main() -> std::io::Result<()> {
//! let client = testing::connect(receiving(|_, _| Ok(())));
//! let server = client.server().clone();
//! let told = thread::spawn(move || server.broadcast("to all of you\n"));
//!
//! let mut line = String::new();
//! BufReader::new(&client).read_line(&mut line)?;
//! assert_eq!(line, "to all of you\n");
//! assert_eq!(told.join().unwrap(), 1); // how many clients accepted it
//! # Ok(())
//! # }
//! ```
//!
//! **Answer a request on the client's own thread.** The callback may block until the answer is ready. If the
//! peer ends its output after the request, as `nc -N` does, the connection ends as soon as the running
//! callback has finished. If another thread answers later, its write fails with `BrokenPipe` and the answer
//! is lost. The same is true in a [stop](super::stopping). If another thread must compute the answer, wait
//! for it in the callback, for example on a channel.
//!
//! # Closing
//!
//! [`close`] may be called from any thread and any callback, and more than once. Data that was written before
//! still reaches a peer that keeps reading. After `close` has returned, no further `receiving` starts, but a
//! call that is already running finishes. From then on, only [`closing`](crate::Adapter::closing) may write.
//!
//! How long a closing connection waits for the peer is [limited](super::limits#fixed-limits).
//!
//! [`write`]: crate::Client::write
//! [`write_line`]: crate::Client::write_line
//! [`write_vectored_all`]: crate::Client::write_vectored_all
//! [`write_frame`]: crate::Client::write_frame
//! [`post`]: crate::Client::post
//! [`cork`]: crate::Client::cork
//! [`close`]: crate::Client::close
//! [`abort`]: crate::Client::abort
//! [`Client`]: crate::Client
//! [`Corked::flush`]: crate::Corked::flush
