//! [`Framing`]: cuts a stream of bytes into frames. This module is public as `backport::framing`.
//!
//! A framing is a pure computation without a connection or a thread. It is called on the client's own thread.
//! Each of the other files of this folder has one framing.

pub(crate) mod content_length;
pub(crate) mod delimited;
mod header;
pub(crate) mod length_prefixed;
pub(crate) mod lines;

use std::fmt;
use std::io;
use std::ops::Range;

use crate::error::Result;

/// Cuts a stream of bytes into frames, and encodes messages as frames.
///
/// No method may block, except that the function which [`encode`](Framing::encode) calls may block. Only
/// [`decode`](Framing::decode) has no default.
///
/// ```
/// use std::io;
/// use backport::framing::{Frame, FrameError, Framing};
/// use backport::Result;
///
/// /// Each frame has four bytes.
/// struct Quads;
///
/// impl Framing for Quads {
///     fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
///         Ok((input.len() >= 4).then(|| Frame::new(0..4, 4)))
///     }
///
///     fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
///         send(&[payload])
///     }
/// }
/// # assert!(matches!(Quads.decode(b"abcde"), Ok(Some(frame)) if frame.used == 4));
/// # assert!(Quads.decode_end(b"e").unwrap_err().is::<FrameError>());
/// ```
pub trait Framing: Send + 'static {
    /// Looks for a frame at the start of `input`. Returns `None` if the frame needs more bytes.
    ///
    /// `input` begins after the previous frame and is never empty. After `None`, the next call gets the same
    /// bytes followed by more bytes. Therefore a framing can store in `self` how far it has searched.
    ///
    /// # Errors
    /// Returns an error if no frame can begin with these bytes, or if the frame is over the framing's limit.
    /// A framing should return the error at the first byte that makes it certain. Otherwise a peer that sends
    /// something else waits in vain for an answer.
    ///
    /// With [`Adapter::framed`](crate::Adapter::framed), an error ends the connection.
    /// [`Input::frame`](crate::Input::frame) returns the error.
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>>;

    /// Returns the last frame after the peer has ended its output. `input` has the remaining bytes, in which
    /// `decode` has found no frame. It may be empty.
    ///
    /// By default this returns `None`, or an error if `input` is not empty.
    ///
    /// # Errors
    /// Returns an error if the input must not end here. The default is [`FrameError::Truncated`] if `input`
    /// is not empty.
    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        if input.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Truncated.into())
        }
    }

    /// Returns `true` if `rest`, in which `decode` has found no frame, begins a frame.
    ///
    /// [`Framed::within`](crate::framing::Framed::within) measures the time of a frame from the chunk after
    /// which this returns `true`. A framing overrides it if bytes may remain that belong to no frame, such as
    /// the end of a frame that was already returned. The default is `true` if `rest` is not empty.
    fn begins_frame(&self, rest: &[u8]) -> bool {
        !rest.is_empty()
    }

    /// Encodes `payload` as a frame, and calls `send` once with the parts of the frame in order.
    ///
    /// The default is for a framing that only reads.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - [`Unsupported`](io::ErrorKind::Unsupported) if the framing does not write frames, by default. Then
    ///   `send` is not called.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the payload does not fit into a frame. Then `send`
    ///   is not called.
    /// - Every error of `send`.
    #[expect(unused_variables, reason = "the names are for the documentation")]
    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        let message = "this framing does not write frames, because it has no `encode`";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

/// Forwards every call, so a program can choose a framing at run time.
impl<F: Framing + ?Sized> Framing for Box<F> {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        (**self).decode(input)
    }

    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        (**self).decode_end(input)
    }

    fn begins_frame(&self, rest: &[u8]) -> bool {
        (**self).begins_frame(rest)
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        (**self).encode(payload, send)
    }
}

/// The position of a frame in the input of a [`Framing`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The position of the payload.
    pub payload: Range<usize>,
    /// How many bytes of the input the whole frame takes. At least one.
    pub used: usize,
}

impl Frame {
    /// Creates a frame that takes the first `used` bytes of the input and has its payload at `payload`.
    #[must_use]
    pub fn new(payload: Range<usize>, used: usize) -> Frame {
        Frame { payload, used }
    }

    /// Checks the frame against the size of the input, because a framing is user code.
    ///
    /// # Errors
    /// Returns an error if the frame reaches beyond the input, or if it takes no byte, which would cause an
    /// endless loop.
    pub(crate) fn check(self, available: usize) -> Result<Frame> {
        let Range { start, end } = self.payload;
        if self.used == 0 || self.used > available || start > end || end > available {
            let message = format!("the framing returned an impossible frame: {self:?} in {available} bytes");
            return Err(FrameError::Malformed(message).into());
        }
        Ok(self)
    }
}

/// The reason why bytes are not a valid frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is over the framing's limit.
    TooLong {
        /// The limit, in bytes of payload.
        limit: usize,
    },
    /// The input ended within a frame.
    Truncated,
    /// The frame took longer than [`Framed::within`](crate::framing::Framed::within) allows.
    TooSlow,
    /// The bytes are not a valid frame. The text says why. If it quotes bytes of the peer, they are escaped
    /// and shortened, and the text depends on how many bytes had arrived.
    Malformed(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { limit } => {
                let raise = "the framing's `limit`, `with_limit` or `header_limit` raises it";
                write!(f, "a frame is longer than the framing's limit of {limit} bytes ({raise})")
            }
            FrameError::Truncated => f.write_str("the input ended within a frame"),
            FrameError::TooSlow => {
                f.write_str("a frame took too long to arrive (`Framed::within` sets how long it may take)")
            }
            FrameError::Malformed(what) => write!(f, "malformed frame: {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Returns bytes of a peer as text for a message: escaped, and shortened to 40 bytes.
fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 40;
    let mut text = String::new();
    for &byte in bytes.iter().take(LONGEST) {
        match byte {
            // Quotes stay, because text with escaped quotes is hard to read.
            b'"' | b'\'' => text.push(char::from(byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    if bytes.len() > LONGEST {
        text.push('…');
    }
    text
}

/// Creates the error of `encode` for a payload that does not fit into a frame.
fn unframable(why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the payload does not fit into a frame: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "a framing may return such a range")]
    fn a_frame_that_does_not_lie_in_its_input_is_refused() {
        for (payload, used) in [(0..0, 0), (0..4, 6), (4..3, 5), (2..6, 5), (6..7, 5)] {
            let frame = Frame::new(payload, used);
            assert!(frame.clone().check(5).is_err(), "{frame:?}");
        }
        for (payload, used) in [(0..5, 5), (0..0, 1), (5..5, 5), (2..3, 4)] {
            let frame = Frame::new(payload, used);
            assert_eq!(frame.clone().check(5).expect("it lies in the input"), frame);
        }
    }
}
