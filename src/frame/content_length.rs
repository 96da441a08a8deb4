//! [`ContentLength`]: the framing of the Language Server Protocol and the Debug Adapter Protocol.

use std::io;

use memchr::memmem;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// The largest size of a header part, with the empty line at its end.
const HEAD_LIMIT: usize = 8 * 1024;
/// The end of the last field, and the empty line.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Frames that consist of header fields, an empty line and a body. The field `Content-Length` gives the
/// number of bytes of the body.
///
/// The payload of a frame is the body. Other header fields are allowed and ignored.
///
/// This is the base protocol of the Language Server Protocol (specification 3.17, "Base Protocol") and of the
/// Debug Adapter Protocol. Header fields end in CRLF and follow the rules of HTTP (RFC 7230, section 3.2):
///
/// - Names of fields are not case-sensitive.
/// - Blanks are allowed before and after a value, but not before or after a name.
#[derive(Clone, Debug)]
pub struct ContentLength {
    limit: usize,
    /// How many bytes of the header part were searched. The end of the header part does not begin in them.
    searched: usize,
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
        ContentLength { limit, searched: 0, body: None }
    }

    /// Looks for the header part. Returns where the body begins and ends.
    fn head(&mut self, input: &[u8]) -> Result<Option<(usize, usize)>> {
        let window = &input[..input.len().min(HEAD_LIMIT)];
        let searched = self.searched.min(window.len());
        let Some(found) = memmem::find(&window[searched..], HEAD_END) else {
            if window.len() == HEAD_LIMIT {
                return Err(FrameError::TooLong { limit: HEAD_LIMIT }.into());
            }
            self.searched = window.len().saturating_sub(HEAD_END.len() - 1);
            return Ok(None);
        };
        let head = searched + found;
        let length = content_length(&input[..head])?;
        if length > self.limit {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        }
        let start = head + HEAD_END.len();
        Ok(Some((start, start.saturating_add(length))))
    }
}

impl Framing for ContentLength {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        if self.body.is_none() {
            self.body = self.head(input)?;
        }
        match self.body {
            Some((start, end)) if input.len() >= end => {
                (self.body, self.searched) = (None, 0);
                Ok(Some(Frame::new(start..end, end)))
            }
            _ => Ok(None),
        }
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        send(&[format!("Content-Length: {}\r\n\r\n", payload.len()).as_bytes(), payload])
    }
}

/// Returns the value of the `Content-Length` field. If there are several, they must have the same value.
fn content_length(head: &[u8]) -> Result<usize, FrameError> {
    let malformed = |what: &str| FrameError::Malformed(what.to_owned());
    // Other fields may contain bytes that are not ASCII.
    let head = String::from_utf8_lossy(head);
    let mut length = None;
    for field in head.split("\r\n") {
        let (name, value) =
            field.split_once(':').ok_or_else(|| malformed("a header field without a colon"))?;
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim_matches([' ', '\t']);
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed("a Content-Length that is not a number"));
            }
            let digits = value.trim_start_matches('0');
            if length.replace(digits).is_some_and(|other| other != digits) {
                return Err(malformed("two values of Content-Length"));
            }
        }
    }
    match length {
        None => Err(malformed("no Content-Length")),
        Some("") => Ok(0),
        // A number that does not fit into `usize` is over every limit.
        Some(digits) => Ok(digits.parse().unwrap_or(usize::MAX)),
    }
}
