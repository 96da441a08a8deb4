//! [`ContentLength`]: the framing of the Language Server Protocol and the Debug Adapter Protocol.

use std::io;

use crate::error::Result;
use crate::frame::header::{Header, HeaderLimits};
use crate::frame::{unframable, Frame, FrameError, Framing};

/// Frames that consist of header fields, an empty line and a body. The field `Content-Length` gives the
/// number of bytes of the body.
///
/// The payload of a frame is the body. Other header fields are allowed and ignored.
///
/// This is the base protocol of the Language Server Protocol (specification 3.17, "Base Protocol") and of the
/// Debug Adapter Protocol. The header follows the rules of HTTP (RFC 9110, section 5):
///
/// - Header fields end in CRLF. LF alone or CR alone is an error.
/// - Names of fields are not case-sensitive. They consist of letters, digits and some other characters.
/// - Blanks are allowed before and after a value, but not before or after a name.
/// - A value cannot contain control characters. `Content-Length` has only digits.
/// - If there are several `Content-Length` fields, they must have the same value.
///
/// At the first byte that cannot be part of a header, the error is [`FrameError::Malformed`]. Its text quotes
/// the line. A length over the limit is a [`FrameError::TooLong`] as soon as its digits show that. Therefore a peer
/// that sends something else, such as newline-delimited JSON, does not wait in vain.
///
/// ```
/// use backport::framing::{ContentLength, Framing};
///
/// let error = ContentLength::default().decode(b"{\"jsonrpc\":\"2.0\"}\n").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "malformed frame: expected a header such as `Content-Length: 12`, found `{\"jsonrpc\":\"2.0\"}`; \
///      is the client sending newline-delimited JSON?",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct ContentLength {
    limits: HeaderLimits,
    header: Header,
    /// The start and the end of the body. `None` until the header part has arrived.
    body: Option<(usize, usize)>,
}

impl Default for ContentLength {
    /// Creates a framing for bodies of at most 16 MiB.
    fn default() -> ContentLength {
        ContentLength::with_limit(16 * 1024 * 1024)
    }
}

impl ContentLength {
    /// Creates a framing for bodies of at most `limit` bytes. A header part may have at most 8 KiB.
    #[must_use]
    pub fn with_limit(limit: usize) -> ContentLength {
        let limits = HeaderLimits { body: limit, header: 8 * 1024 };
        ContentLength { limits, header: Header::new(), body: None }
    }

    /// Sets the limit of a header part in bytes, with the empty line at its end. Default: 8 KiB.
    #[must_use]
    pub fn header_limit(mut self, limit: usize) -> ContentLength {
        self.limits.header = limit;
        self
    }
}

impl Framing for ContentLength {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        if self.body.is_none() {
            self.body = self.header.read(input, self.limits)?;
        }
        match self.body {
            Some((start, end)) if input.len() >= end => {
                (self.body, self.header) = (None, Header::new());
                Ok(Some(Frame::new(start..end, end)))
            }
            _ => Ok(None),
        }
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        if payload.len() > self.limits.body {
            return Err(unframable(FrameError::TooLong { limit: self.limits.body }));
        }
        send(&[format!("Content-Length: {}\r\n\r\n", payload.len()).as_bytes(), payload])
    }
}
