//! The read buffer: small while a client is quiet, large while it streams, as large as a frame needs
//! while one comes in.

/// Where a quiet client reads to. It lies in the worker's stack, so that an idle client costs no
/// memory beside the two pages of stack that its thread has touched anyway.
const SMALL: usize = 1024;
/// Where a client reads to once a read has filled the small one.
const LARGE: usize = 64 * 1024;
/// After so many reads in a row that would have fit the small buffer, the large one goes.
const CALM: u32 = 64;

/// What was read and not consumed, and room for more.
pub(super) struct Buffer {
    small: [u8; SMALL],
    /// In use if not empty.
    large: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled the small buffer.
    filled_up: bool,
    calm: u32,
}

impl Buffer {
    pub(super) fn new() -> Buffer {
        Buffer { small: [0; SMALL], large: Vec::new(), start: 0, end: 0, filled_up: false, calm: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it has more memory than what is unread needs.
    pub(super) fn is_oversized(&self) -> bool {
        !self.large.is_empty() && self.len() <= SMALL
    }

    pub(super) fn unread(&self) -> &[u8] {
        let bytes = if self.large.is_empty() { &self.small[..] } else { &self.large };
        &bytes[self.start..self.end]
    }

    /// Consumes `count` bytes and gives those in `range` of what was unread.
    pub(super) fn take(&mut self, range: std::ops::Range<usize>, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        let bytes = if self.large.is_empty() { &self.small[..] } else { &self.large };
        &bytes[start + range.start..start + range.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Room to read to: never empty.
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

    /// Notes that `count` bytes were read to the room.
    pub(super) fn fill(&mut self, count: usize) {
        self.filled_up = self.large.is_empty() && count == SMALL;
        self.calm = if count > SMALL || self.large.is_empty() { 0 } else { self.calm + 1 };
        self.end += count;
    }

    /// Gives a large buffer back, before a long wait, if it is oversized.
    pub(super) fn relax(&mut self) {
        let (start, end) = (self.start, self.end);
        if self.is_oversized() {
            self.small[..end - start].copy_from_slice(&self.large[start..end]);
            (self.start, self.end) = (0, end - start);
            self.large = Vec::new();
        }
        (self.filled_up, self.calm) = (false, 0);
    }

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

    /// Reads `bytes` as a transport would, as far as there is room.
    fn read(buffer: &mut Buffer, bytes: &[u8]) -> usize {
        let room = buffer.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        buffer.fill(count);
        count
    }

    #[test]
    fn grows_after_a_full_read_and_shrinks_after_a_calm_while() {
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
    fn gives_the_large_buffer_back_before_a_long_wait_and_loses_nothing() {
        let mut buffer = Buffer::new();
        read(&mut buffer, &[1; SMALL]);
        buffer.consume(SMALL);
        read(&mut buffer, &[2; 3000]);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 3000], "too much for the small one");
        buffer.consume(2900);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 100]);
        assert_eq!(buffer.room().len(), SMALL - 100);
    }

    #[test]
    fn makes_room_of_what_was_consumed_before_it_grows() {
        let mut buffer = Buffer::new();
        read(&mut buffer, &[1; SMALL - 1]);
        buffer.consume(SMALL - 3);
        assert_eq!(read(&mut buffer, &[2; 10]), 1);
        assert_eq!(buffer.room().len(), SMALL - 3);
        assert_eq!(buffer.unread(), [1, 1, 2]);
        // A read that was not full asks for no larger buffer.
        buffer.consume(3);
        assert_eq!(buffer.room().len(), SMALL);
    }

    #[test]
    fn makes_room_for_a_frame_of_any_size() {
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
        assert_eq!(Vec::from_iter(sizes), [SMALL, LARGE, 2 * LARGE, 4 * LARGE], "doubled when it was full");
        assert_eq!(buffer.unread(), &stream[7..]);
        assert_eq!(buffer.len(), stream.len() - 7);
        assert_eq!(buffer.take(1..3, 10), &stream[8..10]);
        assert_eq!(buffer.unread(), &stream[17..]);
    }
}
