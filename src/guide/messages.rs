//! Messages: lines and other frames instead of bytes.
//!
//! The module [`framing`](crate::framing) cuts the bytes of a client into messages.
//!
//! | framing | a message is | default limit |
//! |---|---|---|
//! | [`Lines`] | a line, ended by LF or CRLF | 64 KiB |
//! | [`Delimited`] | the bytes up to a delimiter | 64 KiB |
//! | [`LengthPrefixed`] | as many bytes as a binary prefix of 1, 2, 4 or 8 bytes says | 1 MiB |
//! | [`ContentLength`] | the body after a `Content-Length` header, as language servers use it | 16 MiB |
//! | your own [`Framing`] | what you define; it takes ten lines | yours |
//!
//! A message over the limit ends the client. Input that ends inside a message does the same, but the last
//! line may lack its end. In both cases the reason is [`Failed`](crate::Closing::Failed) with a
//! [`FrameError`](crate::framing::FrameError).
//!
//! With [`Adapter::framed`](crate::Adapter::framed) in the factory, `receiving` gets one message per
//! call:
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
//! - [`Framed::gathering`] sends the replies to all messages of one read in one write. Use it if clients
//!   send many messages at once and each is answered quickly.
//! - [`Framed::within`] ends a client that takes too long for one message.
//! - [`Input::frame`](crate::Input::frame) reads the next message in straight-line code. The framing may
//!   change from one message to the next.
//! - [`Client::write_frame`](crate::Client::write_frame) sends one message.
//!
//! The example `lsp` is a language server with `ContentLength`, over TCP or standard input and output.
//!
//! [`ContentLength`]: crate::framing::ContentLength
//! [`Delimited`]: crate::framing::Delimited
//! [`Framed::gathering`]: crate::framing::Framed::gathering
//! [`Framed::within`]: crate::framing::Framed::within
//! [`Framing`]: crate::framing::Framing
//! [`LengthPrefixed`]: crate::framing::LengthPrefixed
//! [`Lines`]: crate::framing::Lines
