//! Writing: `write`, `post`, corks, and writing from other threads.
//!
//! A [`Client`] is a handle. It can be cloned, sent to other threads and kept as long as you like. A kept
//! handle holds no socket open after the connection has ended. Writes then fail with
//! [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
//!
//! | method | blocks | notes |
//! |---|---|---|
//! | [`write`], [`write_line`], [`write_vectored_all`], [`write_frame`], `write!` | while the peer does not read, at most for the write timeout | sends one record |
//! | [`post`] | never | sends one record; data that the socket does not take waits in a backlog |
//! | [`cork`] | when the guard drops or flushes | gathers records |
//! | [`close`] | never | data that was written before is still delivered |
//! | [`abort`] | never | drops data that is on its way |
//! | [`id`](crate::Client::id), [`remote`](crate::Client::remote), [`is_closed`](crate::Client::is_closed), [`stats`](crate::Client::stats) | never | |
//!
//! # Records
//!
//! Each call sends one *record*. Records from several threads never mix, and written and posted records
//! keep one order. A [`write`] returns when the kernel has taken the whole record, so the caller goes at
//! the pace of the peer. A [`post`] returns at once.
//!
//! Data that does not fit the socket waits in the client's backlog until the peer reads. If the backlog
//! would exceed [`max_backlog`](crate::TcpServer::max_backlog), the client ends as
//! [`TooSlow`](crate::Closing::TooSlow) and its waiting data is dropped. No other client is affected.
//!
//! # Several records in one system call
//!
//! While the guard of a [`cork`] lives, all output of the client is gathered, whichever thread writes it.
//! It is sent when the guard drops. Use [`Corked::flush`] to learn about errors. Corks can be nested:
//! output is sent when the last guard drops.
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
//! Any thread may write to a client: a thread of yours, the job of an interval, or the callback of
//! another client. The handle of a server knows all clients, and
//! [`broadcast`](crate::ServerHandle::broadcast) posts to each:
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
//! assert_eq!(told.join().unwrap(), 1); // how many clients took it
//! # Ok(())
//! # }
//! ```
//!
//! **Answer a request on the client's own thread.** It may block there for as long as the answer takes.
//! If the peer ends its output after the request, as `nc -N` does, the connection ends as soon as the
//! running callback has finished. An answer from another thread then comes too late: its write fails with
//! `BrokenPipe`, and the answer is lost. The same is true in a [stop](super::stopping). If other threads
//! must compute the answer, wait for them in the callback, for example on a channel.
//!
//! # Closing
//!
//! [`close`] may be called from any thread and any callback, and more than once. Data that was written
//! before still reaches a peer that keeps reading. No `receiving` starts after `close` has returned, but
//! a running one finishes. From `close` on, only [`closing`](crate::Adapter::closing) may write.
//!
//! The end of a connection waits for the peer only within [bounds](super::limits#fixed-bounds).
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
