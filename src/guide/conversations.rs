//! Conversations: straight-line code instead of a state machine, and libraries that need a stream.
//!
//! # Serving
//!
//! In some protocols the server asks, waits for the answer and asks again. For such a protocol, implement
//! [`Adapter::serving`] instead of [`receiving`](crate::Adapter::receiving). It runs the whole conversation,
//! and the connection is closed when it returns. Its [`Input`] implements [`Read`](std::io::Read) and
//! [`BufRead`](std::io::BufRead):
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
//! The call of `take` limits the line. Without a limit, a peer could send a line that never ends, and
//! `read_line` would allocate more and more memory.
//!
//! | method | returns |
//! |---|---|
//! | [`chunk`](crate::Input::chunk) | the bytes that have arrived, or `None` at the [end of input](#end-of-input) |
//! | [`frame`](crate::Input::frame) | the next message, or `None` at the end of input |
//! | [`parse`](crate::Input::parse) | the next message as a value, or `None` at the end of input |
//! | `read`, `read_exact`, `read_line`, `take` and the rest of `Read` and `BufRead` | the same as for any reader |
//! | [`stream`](crate::Input::stream) | input and output as one stream |
//!
//! The methods can be mixed, because none of them consumes more bytes than it returns.
//! [`Input::set_deadline`] sets a time after which reads fail. The page [`deadlines`](super::deadlines) has an
//! example.
//!
//! # End of input
//!
//! Reads reach the end of input when the peer ends its output. If the server closes the client or stops,
//! `chunk`, `frame` and `parse` also return `None`, and all other reads fail. The page
//! [`endings`](super::endings#reads) shows how that keeps half a message from looking complete.
//!
//! # Libraries that need a stream
//!
//! Many libraries read and write one blocking stream, such as a `TcpStream`. For them, [`Input::stream`]
//! returns a [`Stream`], which implements `Read`, `BufRead` and `Write`.
//!
//! The documentation of [`Stream`] has an example. The program `examples/protocols/websocket.rs` serves
//! WebSocket with the crate `tungstenite`. In `examples/protocols/websocket_chat`, other threads also write to
//! the client of such a library.
//!
//! [`Adapter::serving`]: crate::Adapter::serving
//! [`Input`]: crate::Input
//! [`Input::frame`]: crate::Input::frame
//! [`Input::set_deadline`]: crate::Input::set_deadline
//! [`Input::stream`]: crate::Input::stream
//! [`Stream`]: crate::Stream
