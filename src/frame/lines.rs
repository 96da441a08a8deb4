//! [`Lines`]: each frame is a line that ends in LF or CRLF.

use std::io;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// Lines that end in LF or CRLF. The payload of a frame is the line without this end.
///
/// The last line of the input is a frame even if it has no end. A line may contain any other bytes, such as
/// NUL, CR in the middle or invalid UTF-8.
///
/// A line is encoded with LF. After [`crlf`](Lines::crlf), it is encoded with CRLF.
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    crlf: bool,
    /// How many bytes of the line were already searched. They contain no LF.
    searched: usize,
}

impl Default for Lines {
    /// Creates a framing for lines of at most 64 KiB.
    fn default() -> Lines {
        Lines::with_limit(64 * 1024)
    }
}

impl Lines {
    /// Creates a framing for lines of at most `limit` bytes. The end of a line does not count.
    #[must_use]
    pub fn with_limit(limit: usize) -> Lines {
        Lines { limit, crlf: false, searched: 0 }
    }

    /// Encodes lines with CRLF at the end. Default: LF.
    #[must_use]
    pub fn crlf(self) -> Lines {
        Lines { crlf: true, ..self }
    }

    /// Returns a line as a frame of `used` bytes. `line` has no LF, but may end with CR.
    fn frame(&self, line: &[u8], used: usize) -> Result<Option<Frame>> {
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        if length > self.limit {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        }
        Ok(Some(Frame::new(0..length, used)))
    }
}

impl Framing for Lines {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        // The longest line, with CR and LF. If it contains no LF, the line is too long.
        let window = &input[..input.len().min(self.limit.saturating_add(2))];
        let searched = std::mem::take(&mut self.searched).min(window.len());
        if let Some(found) = memchr::memchr(b'\n', &window[searched..]) {
            let end = searched + found;
            return self.frame(&input[..end], end + 1);
        }
        if window.len() > self.limit.saturating_add(1) {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        }
        self.searched = window.len();
        Ok(None)
    }

    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        self.searched = 0;
        if input.is_empty() {
            return Ok(None);
        }
        self.frame(input, input.len())
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        if payload.contains(&b'\n') || payload.ends_with(b"\r") {
            return Err(unframable("a line cannot contain LF or end with CR"));
        }
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        send(&[payload, if self.crlf { b"\r\n" } else { b"\n" }])
    }
}
