//! Messages instead of bytes.
//!
//! The kernel delivers bytes in pieces of any size. A [`Framing`] cuts them into messages, and puts messages
//! into bytes. [`Lines`], [`Delimited`], [`LengthPrefixed`] and [`ContentLength`] are here. One of your own
//! takes ten lines.
//!
//! - [`Adapter::framed`](crate::Adapter::framed): `receiving` gets one message for each call. With
//!   [`gathering`](Framed::gathering), the replies to one piece of input are sent as one piece.
//! - [`Input::frame`](crate::Input::frame): straight-line code reads the next message. The framing may change
//!   from one message to the next.
//! - [`Client::write_frame`](crate::Client::write_frame): sends one message as one record.
//!
//! ```
//! use backport::framing::Lines;
//! use backport::{Adapter, Client, Machine, Result};
//!
//! struct Calculator;
//!
//! impl Adapter for Calculator {
//!     fn receiving(&mut self, client: &Client, line: &[u8]) -> Result {
//!         let line = std::str::from_utf8(line)?;
//!         let numbers: Vec<i64> = line.split('+').map(|n| n.trim().parse()).collect::<Result<_, _>>()?;
//!         Ok(client.write_line(numbers.iter().sum::<i64>().to_string())?)
//!     }
//! }
//!
//! # fn main() -> Result {
//! let machine = Machine::new();
//! machine.prepare_tcp_server("localhost:0", || Calculator.framed(Lines::default()))?;
//! # Ok(())
//! # }
//! ```
//!
//! Every framing has a limit, which bounds the memory that one peer can make the server use. A message over
//! the limit is [`FrameError::TooLong`].

pub use crate::adapter::framed::Framed;
pub use crate::frame::content_length::ContentLength;
pub use crate::frame::delimited::Delimited;
pub use crate::frame::length_prefixed::{Endian, LengthPrefixed};
pub use crate::frame::lines::Lines;
pub use crate::frame::{Frame, FrameError, Framing};
