//! Messages instead of bytes.
//!
//! The kernel delivers bytes in pieces of any size. A [`Framing`] cuts the bytes into messages, and encodes
//! messages as bytes. This module has [`Lines`], [`Delimited`], [`LengthPrefixed`] and [`ContentLength`].
//! Your own framing takes about ten lines.
//!
//! - With [`Adapter::framed`](crate::Adapter::framed), `receiving` gets one message per call. With
//!   [`gathering`](Framed::gathering) in addition, the replies to all messages of one read are sent in one
//!   piece.
//! - [`Input::frame`](crate::Input::frame) reads the next message in [`serving`](crate::Adapter::serving).
//!   Each message may use another framing.
//! - [`Client::write_frame`](crate::Client::write_frame) sends one message as one record.
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
//! Every framing of this module has a size limit, so a peer cannot make the server use more and more memory.
//! A message over the limit is the error [`FrameError::TooLong`]. Bytes that cannot be a message are an error as
//! soon as they arrive, so no peer waits in vain for an answer.

pub use crate::adapter::framed::Framed;
pub use crate::frame::content_length::ContentLength;
pub use crate::frame::delimited::Delimited;
pub use crate::frame::length_prefixed::{Endian, LengthPrefixed};
pub use crate::frame::lines::Lines;
pub use crate::frame::{Frame, FrameError, Framing};
