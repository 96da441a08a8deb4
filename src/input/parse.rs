//! Messages with a type of their own.

use crate::error::Result;
use crate::frame::FrameError;
use crate::input::Input;

impl Input {
    /// Waits for a message and returns what `parser` has made of it. Returns `None` at the end of input, and after
    /// a close or a stop.
    ///
    /// Use it for a protocol that has a parser, for example HTTP with the crate `httparse`. A message is parsed
    /// once, and the value may be of any type that owns its data.
    ///
    /// The `parser` gets the unread bytes, at least one. It returns the value and how many bytes the message takes,
    /// or `None` if the message is not complete. Then it is called again with the same bytes and more, when more
    /// have arrived. The bytes after the message stay unread, so the next call may use another parser or read
    /// plain bytes. If a [deadline](Input::set_deadline) has passed within a message, no byte is lost.
    ///
    /// The `parser` sets the limit for the size of a message: it must return an error if there are more bytes than
    /// an incomplete message may have.
    ///
    /// # Errors
    /// - Every [`std::io::Error`] of [`chunk`](Input::chunk).
    /// - The error of the `parser`.
    /// - [`FrameError::Truncated`] if the input ends within a message.
    /// - [`FrameError::Malformed`] if the `parser` returns a message of no bytes, or of more bytes than it got.
    ///
    /// # Example
    /// Numbers with a length before them:
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use backport::{testing, Adapter, Client, Input, Result};
    ///
    /// /// A length of one byte, and then that many digits.
    /// fn number(bytes: &[u8]) -> Result<Option<(u64, usize)>> {
    ///     let used = 1 + usize::from(bytes[0]);
    ///     let Some(digits) = bytes.get(1..used) else { return Ok(None) };
    ///     Ok(Some((std::str::from_utf8(digits)?.parse()?, used)))
    /// }
    ///
    /// struct Sum(u64);
    ///
    /// impl Adapter for Sum {
    ///     fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
    ///         while let Some(number) = input.parse(number)? {
    ///             self.0 += number;
    ///             // One answer for all numbers that have arrived.
    ///             if input.buffered().is_empty() {
    ///                 client.write_line(self.0.to_string())?;
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result {
    /// let mut client = testing::connect(Sum(0));
    /// client.write_all(b"\x0220\x0222")?;
    /// let mut said = [0; 3];
    /// client.read_exact(&mut said)?;
    /// assert_eq!(&said, b"42\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn parse<T>(
        &mut self,
        mut parser: impl FnMut(&[u8]) -> Result<Option<(T, usize)>>,
    ) -> Result<Option<T>> {
        loop {
            if self.client.is_input_ended() {
                return Ok(None);
            }
            let unread = self.buffer.unread();
            let found = if unread.is_empty() { None } else { parser(unread)? };
            match found {
                Some((message, used)) => {
                    if used == 0 || used > unread.len() {
                        let message = format!(
                            "the parser returned a message of {used} bytes, and got {}",
                            unread.len()
                        );
                        return Err(FrameError::Malformed(message).into());
                    }
                    self.note_consumed(used);
                    self.buffer.consume(used);
                    return Ok(Some(message));
                }
                None if self.end_of_input && unread.is_empty() => return Ok(None),
                None if self.end_of_input => return Err(FrameError::Truncated.into()),
                None => self.read_more(None).map(drop)?,
            }
        }
    }

    /// Returns the bytes that were received and not consumed. Never blocks. Returns nothing after a close or a
    /// stop.
    ///
    /// Use it to answer several messages that have arrived together with one write: gather the answers, and send
    /// them when nothing is buffered. The bytes may also be a part of a message. If a peer may send a part of a
    /// message and then wait for the answers to the messages before it, then the parser of
    /// [`parse`](Input::parse) must also send the answers before it returns `None`.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        if self.client.is_input_ended() {
            &[]
        } else {
            self.buffer.unread()
        }
    }
}
