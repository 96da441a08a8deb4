//! [`Delimited`]: each frame ends with the same sequence of bytes.

use std::io;

use memchr::memmem;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// Frames that end with the same sequence of bytes, the delimiter. A payload cannot contain the delimiter.
///
/// If the input ends without a delimiter, the error is [`FrameError::Truncated`].
#[derive(Clone, Debug)]
pub struct Delimited {
    finder: memmem::Finder<'static>,
    limit: usize,
    /// How many bytes of the frame were already searched. No delimiter begins in them.
    searched: usize,
}

impl Delimited {
    /// Creates a framing with this delimiter and a limit of 64 KiB.
    ///
    /// # Panics
    /// Panics if `delimiter` is empty.
    #[must_use]
    pub fn new(delimiter: impl AsRef<[u8]>) -> Delimited {
        let delimiter = delimiter.as_ref();
        assert!(!delimiter.is_empty(), "a delimiter must not be empty");
        Delimited { finder: memmem::Finder::new(delimiter).into_owned(), limit: 64 * 1024, searched: 0 }
    }

    /// Sets the limit of a payload in bytes. The delimiter does not count. Default: 64 KiB.
    #[must_use]
    pub fn limit(self, limit: usize) -> Delimited {
        Delimited { limit, ..self }
    }

    /// Returns `true` if a payload within the limit is still possible. `window` does not contain the
    /// delimiter, but may end with its beginning.
    fn may_end(&self, window: &[u8]) -> bool {
        let delimiter = self.finder.needle();
        let first = window.len().saturating_sub(delimiter.len() - 1);
        window.len() <= self.limit
            || (first..=self.limit).any(|start| delimiter.starts_with(&window[start..]))
    }
}

impl Framing for Delimited {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        let delimiter = self.finder.needle().len();
        let window = &input[..input.len().min(self.limit.saturating_add(delimiter))];
        let searched = std::mem::take(&mut self.searched).min(window.len());
        if let Some(found) = self.finder.find(&window[searched..]) {
            let end = searched + found;
            return Ok(Some(Frame::new(0..end, end + delimiter)));
        }
        if !self.may_end(window) {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        }
        self.searched = window.len().saturating_sub(delimiter - 1);
        Ok(None)
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        let delimiter = self.finder.needle();
        // A delimiter can also begin in the payload and end in the delimiter after it.
        let found = self.finder.find(payload).is_some()
            || (1..delimiter.len()).any(|head| {
                let (head, tail) = delimiter.split_at(head);
                payload.ends_with(head) && delimiter.starts_with(tail)
            });
        if found {
            return Err(unframable("it contains the delimiter, or would after the delimiter is added"));
        }
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        send(&[payload, delimiter])
    }
}
