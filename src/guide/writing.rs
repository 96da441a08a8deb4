//! Writing: `write`, `post`, corks, groups, and writing from other threads.
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
//! | [`flush`] | like `write` | returns when the kernel has taken all posted and gathered data |
//! | [`hold`](crate::Client::hold) | never | keeps the conversation open |
//! | [`close`], [`close_write`], [`abort`] | never | end the connection, or only the output |
//!
//! All other methods of a client return a value or change a setting, and never block.
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
//! client. If another thread computes the *answer to a request*, give it a hold instead of a client. Otherwise
//! the connection can end before the answer is written. [`endings`](super::endings#holds) shows such a program.
//!
//! # Writing to many clients
//!
//! A [`Group`](crate::Group) is a set of clients, such as a chat room, and its documentation has an example.
//! The handle of a server knows all clients of the server. Both have a `broadcast`, which posts to each
//! client and waits for none of them:
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
//! Two broadcasts at the same time may reach two clients in different orders. If all clients must get all
//! messages in one order, hold a lock during each broadcast. No other thread waits long for the lock, because a
//! broadcast never waits for a peer. The example `websocket_chat` does that. It is a chat in the browser with a
//! group for each room.
//!
//! # The end of the output
//!
//! The page [`endings`](super::endings) describes when writes begin to fail, and how long a closing connection
//! still delivers its output.
//!
//! [`write`]: crate::Client::write
//! [`write_line`]: crate::Client::write_line
//! [`write_vectored_all`]: crate::Client::write_vectored_all
//! [`write_frame`]: crate::Client::write_frame
//! [`post`]: crate::Client::post
//! [`cork`]: crate::Client::cork
//! [`flush`]: crate::Client::flush
//! [`close`]: crate::Client::close
//! [`close_write`]: crate::Client::close_write
//! [`abort`]: crate::Client::abort
//! [`Client`]: crate::Client
//! [`Corked::flush`]: crate::Corked::flush
