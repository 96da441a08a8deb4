//! [`Lines`]: each frame is a line that ends in LF or CRLF, and on request in CR.

use std::io;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// Lines that end in LF or CRLF. The payload of a frame is the line without this end.
///
/// The last line of the input is a frame even if it has no end. A line may contain any other bytes, such as
/// NUL, CR in the middle or invalid UTF-8. After [`carriage_returns`](Lines::carriage_returns), a line also
/// ends in CR.
///
/// A line is encoded with LF. After [`crlf`](Lines::crlf), it is encoded with CRLF.
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    crlf: bool,
    carriage_returns: bool,
    /// How many bytes of the input were already searched. They contain no line end.
    searched: usize,
    /// The previous line has ended in CR, and the byte after it had not arrived.
    after_cr: bool,
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
        Lines { limit, crlf: false, carriage_returns: false, searched: 0, after_cr: false }
    }

    /// Encodes lines with CRLF at the end. Default: LF.
    #[must_use]
    pub fn crlf(self) -> Lines {
        Lines { crlf: true, ..self }
    }

    /// Accepts CR as the end of a line, too. Default: a line ends only in LF or CRLF.
    ///
    /// This is for Telnet and for terminals. In Telnet, CR LF is the end of a line, and CR NUL is the key
    /// Return without a line feed (RFC 854). Old terminals and serial lines send CR alone. Each of these is
    /// one end:
    ///
    /// - LF
    /// - CR LF
    /// - CR NUL
    /// - CR before any other byte, before another CR, or at the end of the input
    ///
    /// A line is returned as soon as its CR has arrived. If the next byte arrives later and is LF or NUL, it
    /// is skipped. For this reason, use the same value for all lines of a client. If a program reads plain
    /// bytes or another framing after a line, the first byte may be such a LF or NUL.
    ///
    /// A line that contains CR cannot be encoded.
    ///
    /// ```
    /// use backport::framing::{Framing, Lines};
    ///
    /// # fn main() -> backport::Result {
    /// let mut lines = Lines::default().carriage_returns();
    /// let first = lines.decode(b"one\r")?.expect("CR ends a line");
    /// assert_eq!((first.payload, first.used), (0..3, 4));
    /// let second = lines.decode(b"\ntwo\r\0")?.expect("the first line has ended in CR LF");
    /// assert_eq!((second.payload, second.used), (1..4, 6));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn carriage_returns(self) -> Lines {
        Lines { carriage_returns: true, ..self }
    }

    /// Returns how many bytes at the start of the input belong to the end of the previous line.
    fn skipped(&self, input: &[u8]) -> usize {
        usize::from(self.after_cr && matches!(input.first(), Some(b'\n' | b'\0')))
    }

    /// Returns the position of the first byte of a line end that is not a CR of CRLF.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        if self.carriage_returns {
            memchr::memchr2(b'\n', b'\r', bytes)
        } else {
            memchr::memchr(b'\n', bytes)
        }
    }

    /// Returns the line from `start` to `end` as a frame of `used` bytes. The line may end with the CR of
    /// CRLF.
    fn frame(&self, input: &[u8], start: usize, end: usize, used: usize) -> Result<Option<Frame>> {
        let line = &input[start..end];
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        if length > self.limit {
            return Err(self.too_long());
        }
        Ok(Some(Frame::new(start..start + length, used)))
    }

    fn too_long(&self) -> crate::error::BoxError {
        FrameError::TooLong { limit: self.limit }.into()
    }
}

impl Framing for Lines {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        let start = self.skipped(input);
        let most = start.saturating_add(self.limit);
        // The longest line, with CR and LF.
        let window = &input[..input.len().min(most.saturating_add(2))];
        let searched = std::mem::take(&mut self.searched).clamp(start, window.len());
        if let Some(found) = self.find(&window[searched..]) {
            let end = searched + found;
            // If CR is the last byte that has arrived, the next byte may belong to the same line end.
            let (pair, after_cr) = match (input[end], input.get(end + 1)) {
                (b'\r', Some(b'\n' | b'\0')) => (true, false),
                (b'\r', None) => (false, true),
                _ => (false, false),
            };
            let frame = self.frame(input, start, end, end + 1 + usize::from(pair))?;
            self.after_cr = after_cr;
            return Ok(frame);
        }
        // A line of one byte too many can still end in CRLF, if that byte is CR.
        if !matches!(window.get(most..), None | Some([] | [b'\r'])) {
            return Err(self.too_long());
        }
        self.searched = window.len();
        Ok(None)
    }

    fn decode_end(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        self.searched = 0;
        let start = self.skipped(input);
        if input.len() == start {
            return Ok(None);
        }
        self.after_cr = false;
        self.frame(input, start, input.len(), input.len())
    }

    fn begins_frame(&self, rest: &[u8]) -> bool {
        rest.len() > self.skipped(rest)
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        if self.carriage_returns && self.find(payload).is_some() {
            return Err(unframable("a line cannot contain LF or CR"));
        }
        if payload.contains(&b'\n') || payload.ends_with(b"\r") {
            return Err(unframable("a line cannot contain LF or end with CR"));
        }
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        send(&[payload, if self.crlf { b"\r\n" } else { b"\n" }])
    }
}
