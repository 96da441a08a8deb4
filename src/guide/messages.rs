//! Messages: lines and other frames instead of bytes.
//!
//! The module [`framing`](crate::framing) cuts the bytes of a client into messages.
//!
//! | framing | a message is | default limit |
//! |---|---|---|
//! | [`Lines`] | a line that ends in LF or CRLF, and on request in CR or CR NUL | 64 KiB |
//! | [`Delimited`] | the bytes up to a delimiter | 64 KiB |
//! | [`LengthPrefixed`] | the bytes after a binary length of 1, 2, 4 or 8 bytes | 1 MiB |
//! | [`ContentLength`] | the body after a `Content-Length` header, as in the Language Server Protocol | 16 MiB |
//! | your own [`Framing`] | defined by you, in about ten lines of code | defined by you |
//!
//! A message over the limit ends the connection. The same happens if the input ends inside a message, but
//! `Lines` accepts a last line without a line end. In both cases the reason is
//! [`Failed`](crate::Closing::Failed) with a [`FrameError`](crate::framing::FrameError).
//!
//! The connection ends at the first byte that makes the error certain. The text of the error says what was
//! found, and `closing` can still send it to the client. Some texts also say which setting of the server allows
//! more, so send words of your own to strangers. For example, a client that sends newline-delimited
//! JSON to a server with `ContentLength` gets this error after its first byte:
//!
//! ```text
//! malformed frame: expected a header such as `Content-Length: 12`, found `{"jsonrpc":"2.0"}`; is
//! the client sending newline-delimited JSON?
//! ```
//!
//! [`Lines::carriage_returns`](crate::framing::Lines::carriage_returns) is for Telnet and terminals.
//!
//! If the factory calls [`Adapter::framed`](crate::Adapter::framed), `receiving` gets one message per call:
//!
//! ```
//! use std::io::{Read, Write};
//! use backport::framing::Lines;
//! use backport::{receiving, testing, Adapter};
//!
//! # fn main() -> std::io::Result<()> {
//! let shout = receiving(|client, line| Ok(client.write_line(line.to_ascii_uppercase())?));
//! let mut client = testing::connect(shout.framed(Lines::default()));
//! client.write_all(b"one\ntw")?;
//! client.write_all(b"o\n")?;
//! client.close_write();
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert_eq!(reply, "ONE\nTWO\n");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Framed::gathering`] handles all messages that arrived in one read, and then sends all replies in one
//!   write. Use it if clients send many messages at once and each of them is answered quickly.
//! - [`Framed::within`] ends the connection of a client that takes too long to send one message.
//! - [`Input::frame`](crate::Input::frame) reads the next message in [`serving`](crate::Adapter::serving).
//!   Each message may use another framing.
//! - [`Client::write_frame`](crate::Client::write_frame) sends one message.
//!
//! The example `lsp` is a language server with `ContentLength`, over TCP or standard input and output. Some of its
//! requests take long and can be cancelled, and it sends requests to its client.
//!
//! [`ContentLength`]: crate::framing::ContentLength
//! [`Delimited`]: crate::framing::Delimited
//! [`Framed::gathering`]: crate::framing::Framed::gathering
//! [`Framed::within`]: crate::framing::Framed::within
//! [`Framing`]: crate::framing::Framing
//! [`LengthPrefixed`]: crate::framing::LengthPrefixed
//! [`Lines`]: crate::framing::Lines
