//! How messages lie in a stream of bytes. Public as `backport::framing`.

pub(crate) mod content_length;
pub(crate) mod delimited;
pub(crate) mod length_prefixed;
pub(crate) mod lines;

use std::fmt;
use std::io;
use std::ops::Range;

use crate::error::Result;

/// How messages lie in a stream of bytes.
///
/// ```
/// use std::io;
/// use backport::framing::{Frame, FrameError, Framing};
/// use backport::Result;
///
/// /// Frames of four bytes.
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
    /// Looks for a frame at the start of `input`; `None` if it is not there whole.
    ///
    /// `input` begins where the last frame ended, and is never empty. After `None` the same bytes
    /// come again with more behind them, so a framing can keep in `self` how far it has looked.
    ///
    /// # Errors
    /// If no frame can begin so, or it would be over the limit: that ends the connection.
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>>;

    /// The end of input, after these bytes, which `decode` has seen and found no frame in. By
    /// default: fine if there are none, else [`FrameError::Truncated`].
    ///
    /// # Errors
    /// If the peer can't have meant to end here.
    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        if input.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Truncated.into())
        }
    }

    /// Puts `payload` into a frame, and calls `send` once with the frame's parts in order.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a payload that can't be framed so, and
    /// whatever `send` fails with.
    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()>;
}

/// So that `Box<dyn Framing>` is a framing: which one may be chosen while the server runs.
impl<F: Framing + ?Sized> Framing for Box<F> {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        (**self).decode(input)
    }

    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        (**self).decode_end(input)
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        (**self).encode(payload, send)
    }
}

/// Where a frame lies in the bytes that a [`Framing`] was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The message.
    pub payload: Range<usize>,
    /// How many bytes the frame takes in all, from the start: at least one.
    pub used: usize,
}

impl Frame {
    /// A frame whose message is `payload`, and that takes `used` bytes from the start.
    #[must_use]
    pub fn new(payload: Range<usize>, used: usize) -> Frame {
        Frame { payload, used }
    }

    /// Refuses what would loop for ever or reach beyond the input: a framing is user code.
    pub(crate) fn check(self, available: usize) -> Result<Frame> {
        let Range { start, end } = self.payload;
        if self.used == 0 || self.used > available || start > end || end > available {
            let message = format!("the framing gave a frame that isn't there: {self:?} of {available} bytes");
            return Err(FrameError::Malformed(message).into());
        }
        Ok(self)
    }
}

/// Why bytes are no frame.
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
    /// The frame did not come whole in the time that [`Framed::within`](crate::framing::Framed::within) gives it.
    TooSlow,
    /// The bytes are no frame of this kind.
    Malformed(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { limit } => {
                write!(f, "a frame is over the limit of {limit} bytes (the framing's limit)")
            }
            FrameError::Truncated => f.write_str("the input ended within a frame"),
            FrameError::TooSlow => f.write_str("a frame did not come whole in time"),
            FrameError::Malformed(what) => write!(f, "malformed frame: {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// An error of `encode`: this payload can't be framed so.
fn unframable(why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the payload can't be framed: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "a framing may give one")]
    fn a_frame_that_is_not_there_is_refused_whatever_is_wrong_with_it() {
        for (payload, used) in [(0..0, 0), (0..4, 6), (4..3, 5), (2..6, 5), (6..7, 5)] {
            let frame = Frame::new(payload, used);
            assert!(frame.clone().check(5).is_err(), "{frame:?}");
        }
        for (payload, used) in [(0..5, 5), (0..0, 1), (5..5, 5), (2..3, 4)] {
            let frame = Frame::new(payload, used);
            assert_eq!(frame.clone().check(5).expect("it is there"), frame);
        }
    }
}
