//! [`Buffer`]: the read buffer of one client.
//!
//! The buffer is small while the client sends little, and large while it sends much. It grows further if a
//! frame needs more room. Only the client's own thread uses it. It is dropped when the conversation ends.

/// The size of the small buffer, which is on the stack of the client's thread. The thread has used two pages
/// of its stack anyway, so an idle client needs no further memory.
const SMALL: usize = 1024;
/// The first size of the large buffer, which is used after a read has filled the small one.
const LARGE: usize = 64 * 1024;
/// How many reads in a row must fit into the small buffer before the large one is dropped.
const CALM: u32 = 64;

/// The bytes that were read and not yet consumed, and room for more.
pub(super) struct Buffer {
    small: [u8; SMALL],
    /// The large buffer. It is used instead of the small one, unless it is empty.
    large: Vec<u8>,
    /// The unread bytes lie between `start` and `end`.
    start: usize,
    end: usize,
    /// `true` if the last read has filled the small buffer.
    filled_up: bool,
    /// How many of the last reads to the large buffer would have fit into the small one.
    calm: u32,
}

impl Buffer {
    pub(super) fn new() -> Buffer {
        Buffer { small: [0; SMALL], large: Vec::new(), start: 0, end: 0, filled_up: false, calm: 0 }
    }

    /// Returns how many bytes are unread.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns `true` if the large buffer is used although the unread bytes would fit into the small one.
    pub(super) fn is_oversized(&self) -> bool {
        !self.large.is_empty() && self.len() <= SMALL
    }

    /// Returns the unread bytes.
    pub(super) fn unread(&self) -> &[u8] {
        let bytes = if self.large.is_empty() { &self.small[..] } else { &self.large };
        &bytes[self.start..self.end]
    }

    /// Consumes `count` unread bytes and returns the part of them that is in `range`.
    pub(super) fn take(&mut self, range: std::ops::Range<usize>, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        let bytes = if self.large.is_empty() { &self.small[..] } else { &self.large };
        &bytes[start + range.start..start + range.end]
    }

    /// Consumes `count` unread bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Returns the free room for the next read, which is never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.large.is_empty() && self.filled_up {
                self.large = vec![0; LARGE];
            } else if self.calm >= CALM {
                self.large = Vec::new();
            }
            (self.filled_up, self.calm) = (false, if self.calm >= CALM { 0 } else { self.calm });
        }
        if self.end == self.bytes().len() {
            if self.start > 0 {
                let (start, end) = (self.start, self.end);
                self.bytes().copy_within(start..end, 0);
                (self.start, self.end) = (0, end - start);
            } else if self.large.is_empty() {
                self.large = vec![0; LARGE];
                self.large[..SMALL].copy_from_slice(&self.small);
            } else {
                self.large.resize(self.large.len() * 2, 0);
            }
        }
        let end = self.end;
        &mut self.bytes()[end..]
    }

    /// Adds the first `count` bytes of the free room to the unread bytes.
    pub(super) fn fill(&mut self, count: usize) {
        self.filled_up = self.large.is_empty() && count == SMALL;
        self.calm = if count > SMALL || self.large.is_empty() { 0 } else { self.calm + 1 };
        self.end += count;
    }

    /// Drops the large buffer if it is oversized. Called before a long wait.
    pub(super) fn relax(&mut self) {
        let (start, end) = (self.start, self.end);
        if self.is_oversized() {
            self.small[..end - start].copy_from_slice(&self.large[start..end]);
            (self.start, self.end) = (0, end - start);
            self.large = Vec::new();
        }
        (self.filled_up, self.calm) = (false, 0);
    }

    /// Returns the buffer that is in use.
    fn bytes(&mut self) -> &mut [u8] {
        if self.large.is_empty() {
            &mut self.small
        } else {
            &mut self.large
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as many of `bytes` as there is room for, like a transport.
    fn read(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let room = buffer.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        buffer.fill(count);
        count
    }

    #[test]
    fn grows_after_a_full_read_and_shrinks_after_many_small_reads() {
        let mut buffer = Buffer::new();
        assert_eq!(read(&mut buffer, &[1; 5000]), SMALL);
        assert!(buffer.large.is_empty());
        buffer.consume(SMALL);
        assert_eq!(read(&mut buffer, &[1; 100_000]), LARGE);
        assert!(!buffer.large.is_empty());
        buffer.consume(LARGE);
        for _ in 0..CALM {
            assert_eq!(buffer.room().len(), LARGE);
            read(&mut buffer, &[1; 10]);
            buffer.consume(10);
        }
        assert_eq!(buffer.room().len(), SMALL);
        assert!(buffer.large.is_empty());
    }

    #[test]
    fn the_large_buffer_is_dropped_before_a_long_wait_and_no_byte_is_lost() {
        let mut buffer = Buffer::new();
        read(&mut buffer, &[1; SMALL]);
        buffer.consume(SMALL);
        read(&mut buffer, &[2; 3000]);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 3000], "they do not fit into the small buffer");
        buffer.consume(2900);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 100]);
        assert_eq!(buffer.room().len(), SMALL - 100);
    }

    #[test]
    fn room_of_consumed_bytes_is_used_before_the_buffer_grows() {
        let mut buffer = Buffer::new();
        read(&mut buffer, &[1; SMALL - 1]);
        buffer.consume(SMALL - 3);
        assert_eq!(read(&mut buffer, &[2; 10]), 1);
        assert_eq!(buffer.room().len(), SMALL - 3);
        assert_eq!(buffer.unread(), [1, 1, 2]);
        // The last read has not filled the small buffer, so the small buffer is enough.
        buffer.consume(3);
        assert_eq!(buffer.room().len(), SMALL);
    }

    #[test]
    fn there_is_room_for_a_frame_of_any_size() {
        let mut buffer = Buffer::new();
        let stream: Vec<u8> = (0..200_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let mut fed = 0;
        let mut sizes = std::collections::BTreeSet::new();
        read(&mut buffer, &stream[..7]);
        fed += 7;
        buffer.consume(7);
        while fed < stream.len() {
            fed += read(&mut buffer, &stream[fed..(fed + 999).min(stream.len())]);
            sizes.insert(buffer.bytes().len());
        }
        assert_eq!(Vec::from_iter(sizes), [SMALL, LARGE, 2 * LARGE, 4 * LARGE], "it doubles when it is full");
        assert_eq!(buffer.unread(), &stream[7..]);
        assert_eq!(buffer.len(), stream.len() - 7);
        assert_eq!(buffer.take(1..3, 10), &stream[8..10]);
        assert_eq!(buffer.unread(), &stream[17..]);
    }
}
