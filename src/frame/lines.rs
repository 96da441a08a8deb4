//! Lines, ended by LF or CRLF.

use std::io;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// Lines, ended by LF or CRLF; a frame is the line without its end. The last line of the input may
/// lack its end. Any bytes may be in a line: NUL, a lone CR within, bad UTF-8.
///
/// Encodes with LF, or CRLF after [`crlf`](Lines::crlf).
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    crlf: bool,
    /// So many bytes of the line were searched and have no LF.
    searched: usize,
}

impl Default for Lines {
    /// A limit of 64 KiB.
    fn default() -> Lines {
        Lines::with_limit(64 * 1024)
    }
}

impl Lines {
    /// Lines of at most `limit` bytes, their end not counted.
    #[must_use]
    pub fn with_limit(limit: usize) -> Lines {
        Lines { limit, crlf: false, searched: 0 }
    }

    /// Encodes with CRLF. Default: LF.
    #[must_use]
    pub fn crlf(self) -> Lines {
        Lines { crlf: true, ..self }
    }

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
        // The limit, CR and LF: no LF within that is too long.
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
            return Err(unframable("a line can't have LF in it, or CR at its end"));
        }
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        send(&[payload, if self.crlf { b"\r\n" } else { b"\n" }])
    }
}
