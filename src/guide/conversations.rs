//! Conversations: straight-line code instead of a state machine, and libraries that want a stream.
//!
//! # Serving
//!
//! Some protocols ask, wait for the answer and ask again. For these, implement [`Adapter::serving`]
//! instead of [`receiving`](crate::Adapter::receiving). It holds the whole conversation, and returning
//! closes the connection. Its [`Input`] is a [`Read`](std::io::Read) and a [`BufRead`](std::io::BufRead):
//!
//! ```
//! use std::io::{BufRead, Read, Write};
//! use backport::{testing, Adapter, Client, Input, Result};
//!
//! struct Greeter;
//!
//! impl Adapter for Greeter {
//!     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
//!         client.write_line("What is your name?")?;
//!         let mut name = String::new();
//!         input.take(1024).read_line(&mut name)?; // at most 1,024 bytes
//!         client.write_line(format!("Hello, {}!", name.trim()))?;
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result {
//! let mut client = testing::connect(Greeter);
//! client.write_all(b"Ann\n")?;
//! let mut said = String::new();
//! client.read_to_string(&mut said)?;
//! assert_eq!(said, "What is your name?\nHello, Ann!\n");
//! # Ok(())
//! # }
//! ```
//!
//! The method `read_line` alone has no limit, so a peer could make the server allocate without end. The
//! call of `take` sets a limit.
//!
//! | method | gives |
//! |---|---|
//! | [`chunk`](crate::Input::chunk) | the bytes that have arrived, or `None` at the end of input |
//! | [`frame`](crate::Input::frame) | the next message, or `None` at the end of input |
//! | `read`, `read_exact`, `read_line`, `take` and the rest of `Read` and `BufRead` | as for any reader |
//! | [`stream`](crate::Input::stream) | input and output as one stream |
//!
//! The methods can be mixed: none takes more bytes than it returns. [`Input::set_deadline`] lets reads
//! fail with `TimedOut` from a given time on, and the connection continues.
//!
//! # End of input
//!
//! Reads come to the end of input when the peer ends its output. They also do so when this side closes
//! the client, for example in a stop. Either can cut a message, and `read_line` then returns the first
//! part of the line. Check a message before you act on it:
//!
//! - A line that ends in `\n` is whole.
//! - [`Input::frame`] returns only whole messages. (`Lines` accepts that the peer's last line lacks its
//!   end.)
//! - For other reads, ask [`Client::is_closed`]. It returns `true` if this side closed the client.
//!
//! # Libraries that want a stream
//!
//! Many libraries read and write one blocking stream, as they would a `TcpStream`. [`Input::stream`]
//! gives them a [`Stream`], which is `Read`, `BufRead` and `Write`. If this side closes the client, reads
//! of the stream fail with [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted), so a library
//! cannot mistake that for the peer's end.
//!
//! The documentation of [`Stream`] has a program. The example `websocket` serves WebSocket with the crate
//! `tungstenite`.
//!
//! [`Adapter::serving`]: crate::Adapter::serving
//! [`Client::is_closed`]: crate::Client::is_closed
//! [`Input`]: crate::Input
//! [`Input::frame`]: crate::Input::frame
//! [`Input::set_deadline`]: crate::Input::set_deadline
//! [`Input::stream`]: crate::Input::stream
//! [`Stream`]: crate::Stream
