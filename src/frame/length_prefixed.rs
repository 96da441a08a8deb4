//! [`LengthPrefixed`]: each frame begins with its length as a binary number.

use std::io;

use crate::error::Result;
use crate::frame::{unframable, Frame, FrameError, Framing};

/// The byte order of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The most significant byte comes first. This is the network byte order.
    Big,
    /// The least significant byte comes first.
    Little,
}

/// Frames that begin with the length of the payload, as an unsigned number of 1, 2, 4 or 8 bytes.
///
/// The length does not include the bytes of the number itself. A length over the limit is an error as soon as
/// the bytes that have arrived show it. In network byte order the first byte can be enough.
#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    width: usize,
    endian: Endian,
    limit: usize,
}

impl Default for LengthPrefixed {
    /// Creates a framing with a length of four bytes in network byte order, and a limit of 1 MiB.
    fn default() -> LengthPrefixed {
        LengthPrefixed::new(4, Endian::Big)
    }
}

impl LengthPrefixed {
    /// Creates a framing with a length of `width` bytes, and a limit of 1 MiB.
    ///
    /// # Panics
    /// Panics if `width` is not 1, 2, 4 or 8.
    #[must_use]
    pub fn new(width: usize, endian: Endian) -> LengthPrefixed {
        assert!(matches!(width, 1 | 2 | 4 | 8), "a length has 1, 2, 4 or 8 bytes, not {width}");
        LengthPrefixed { width, endian, limit: 1024 * 1024 }
    }

    /// Sets the limit of a payload in bytes. The bytes of the length do not count. Default: 1 MiB.
    #[must_use]
    pub fn limit(self, limit: usize) -> LengthPrefixed {
        LengthPrefixed { limit, ..self }
    }
}

impl Framing for LengthPrefixed {
    fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>> {
        let prefix = &input[..input.len().min(self.width)];
        let mut number = [0; 8];
        // The bytes that have not arrived count as zero. Therefore this is the least possible length.
        let least = match self.endian {
            Endian::Big => {
                number[8 - self.width..][..prefix.len()].copy_from_slice(prefix);
                u64::from_be_bytes(number)
            }
            Endian::Little => {
                number[..prefix.len()].copy_from_slice(prefix);
                u64::from_le_bytes(number)
            }
        };
        let length = usize::try_from(least).ok().filter(|length| *length <= self.limit);
        let Some(end) = length.and_then(|length| length.checked_add(self.width)) else {
            return Err(FrameError::TooLong { limit: self.limit }.into());
        };
        let complete = prefix.len() == self.width && input.len() >= end;
        Ok(complete.then(|| Frame::new(self.width..end, end)))
    }

    fn encode(&self, payload: &[u8], send: &mut dyn FnMut(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        if payload.len() > self.limit {
            return Err(unframable(FrameError::TooLong { limit: self.limit }));
        }
        let length = payload.len() as u64;
        if self.width < 8 && length >> (8 * self.width) != 0 {
            return Err(unframable(format_args!("its length does not fit into {} bytes", self.width)));
        }
        match self.endian {
            Endian::Big => send(&[&length.to_be_bytes()[8 - self.width..], payload]),
            Endian::Little => send(&[&length.to_le_bytes()[..self.width], payload]),
        }
    }
}
