//! [`Buffer`]: the read buffer of one client.
//!
//! The buffer is small while the client sends little, and large while it sends much. It grows further if a
//! frame needs more room. Only the client's own thread uses it. It is dropped when the conversation ends.
//!
//! A client that has a large buffer is looked after: each of its reads has a time limit, so that the buffer can be
//! dropped before a long wait. That limit is a timer of the kernel for each read, so clients that send a few messages
//! at a time have a middle buffer instead, which they keep while they wait.

use std::mem;

/// The size of the small buffer, which is on the stack of the client's thread. The thread has used two pages
/// of its stack anyway, so an idle client needs no further memory.
const SMALL: usize = 1024;
/// The size of the middle buffer, which is used after a read has filled the small one.
const MIDDLE: usize = 4 * 1024;
/// The first size of the large buffer, which is used after a read has filled the middle one.
const LARGE: usize = 64 * 1024;
/// How many reads in a row must fit into the next smaller buffer before the larger one is dropped.
const CALM: u32 = 64;

/// The bytes that were read and not yet consumed, and room for more.
pub(super) struct Buffer {
    space: Space,
    /// The unread bytes lie between `start` and `end`.
    start: usize,
    end: usize,
    /// `true` if the last read has filled the small or the middle buffer.
    filled_up: bool,
    /// How many of the last reads would have fit into the next smaller buffer.
    calm: u32,
}

#[allow(clippy::large_enum_variant, reason = "the small buffer must not be on the heap")]
enum Space {
    Small([u8; SMALL]),
    /// The middle or the large buffer.
    Heap(Vec<u8>),
}

impl Buffer {
    /// Makes a buffer of room that the thread lends, which may be none. Before its use, call `begin`.
    pub(super) fn lent(room: Vec<u8>) -> Buffer {
        Buffer { space: Space::Heap(room), start: 0, end: 0, filled_up: false, calm: 0 }
    }

    /// If no room was lent, uses the small buffer. That is made here and not moved, to keep the stack small.
    pub(super) fn begin(&mut self) {
        if self.bytes().is_empty() {
            self.space = Space::Small([0; SMALL]);
        }
    }

    fn of(size: usize) -> Buffer {
        let mut buffer = Buffer::lent(if size == SMALL { Vec::new() } else { vec![0; size] });
        buffer.begin();
        buffer
    }

    /// Gives the room back that was lent. Unread bytes are lost.
    pub(super) fn take_room(&mut self) -> Vec<u8> {
        match &mut self.space {
            Space::Small(_) => Vec::new(),
            Space::Heap(room) => mem::take(room),
        }
    }

    /// Returns how many bytes are unread.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns `true` if the large buffer is used although the unread bytes would fit into a smaller one.
    pub(super) fn is_oversized(&self) -> bool {
        self.bytes().len() > MIDDLE && self.len() <= MIDDLE
    }

    /// Returns the unread bytes.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes()[self.start..self.end]
    }

    /// Consumes `count` unread bytes and returns the part of them that is in `range`.
    pub(super) fn take(&mut self, range: std::ops::Range<usize>, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        &self.bytes()[start + range.start..start + range.end]
    }

    /// Consumes `count` unread bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Returns the free room for the next read, which is never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.filled_up || self.calm >= CALM || self.end == self.bytes().len() {
            self.refit();
        }
        let end = self.end;
        &mut self.bytes_mut()[end..]
    }

    /// Makes the buffer larger or smaller if it is empty and the last reads ask for it. Makes room if there is none.
    #[cold]
    fn refit(&mut self) {
        if self.end == 0 {
            if self.filled_up {
                *self = Buffer::of(self.next_size());
            } else if self.calm >= CALM {
                *self = Buffer::of(if self.bytes().len() > MIDDLE { MIDDLE } else { SMALL });
            }
        } else if self.end == self.bytes().len() {
            if self.start > 0 {
                let (start, end) = (self.start, self.end);
                self.bytes_mut().copy_within(start..end, 0);
                (self.start, self.end) = (0, end - start);
            } else {
                let size = self.next_size();
                let mut heap = match &mut self.space {
                    Space::Small(bytes) => bytes.to_vec(),
                    Space::Heap(heap) => mem::take(heap),
                };
                heap.resize(size, 0);
                self.space = Space::Heap(heap);
            }
        }
    }

    /// Adds the first `count` bytes of the free room to the unread bytes.
    pub(super) fn fill(&mut self, count: usize) {
        self.end += count;
        let size = self.bytes().len();
        let smaller = match size {
            SMALL => 0,
            MIDDLE => SMALL,
            _ => MIDDLE,
        };
        self.filled_up = count == size && size <= MIDDLE;
        self.calm = if count > smaller { 0 } else { self.calm + 1 };
    }

    /// Drops the large buffer if it is oversized. Called before a long wait.
    pub(super) fn relax(&mut self) {
        if self.is_oversized() {
            let unread = self.unread();
            let mut smaller = Buffer::of(if unread.len() > SMALL { MIDDLE } else { SMALL });
            smaller.room()[..unread.len()].copy_from_slice(unread);
            smaller.end = unread.len();
            *self = smaller;
        }
        (self.filled_up, self.calm) = (false, 0);
    }

    /// Returns the size that follows the present one.
    fn next_size(&self) -> usize {
        match self.bytes().len() {
            SMALL => MIDDLE,
            MIDDLE => LARGE,
            size => size * 2,
        }
    }

    /// Returns the buffer that is in use.
    fn bytes(&self) -> &[u8] {
        match &self.space {
            Space::Small(bytes) => bytes,
            Space::Heap(heap) => heap,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.space {
            Space::Small(bytes) => bytes,
            Space::Heap(heap) => heap,
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
        let mut buffer = Buffer::of(SMALL);
        for size in [SMALL, MIDDLE, LARGE, LARGE] {
            assert_eq!(read(&mut buffer, &[1; 100_000]), size);
            buffer.consume(size);
        }
        for (size, next) in [(LARGE, MIDDLE), (MIDDLE, SMALL)] {
            for _ in 0..CALM {
                assert_eq!(buffer.room().len(), size);
                read(&mut buffer, &vec![1; next]);
                buffer.consume(next);
            }
        }
        assert_eq!(buffer.room().len(), SMALL);
        assert!(matches!(buffer.space, Space::Small(_)));
    }

    /// Otherwise a timer of the kernel would begin with each read.
    #[test]
    fn bursts_of_two_kilobytes_need_no_buffer_that_is_dropped_before_a_long_wait() {
        let mut buffer = Buffer::of(SMALL);
        for round in 0..3 * CALM {
            let mut left = 2048;
            while left > 0 {
                let count = read(&mut buffer, &vec![1; left]);
                buffer.consume(count);
                left -= count;
            }
            assert!(!buffer.is_oversized(), "in round {round}");
        }
        assert_eq!(buffer.room().len(), MIDDLE);
    }

    #[test]
    fn the_large_buffer_is_dropped_before_a_long_wait_and_no_byte_is_lost() {
        let mut buffer = Buffer::of(SMALL);
        for size in [SMALL, MIDDLE] {
            read(&mut buffer, &[1; MIDDLE]);
            buffer.consume(size);
        }
        read(&mut buffer, &[2; 5000]);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 5000], "they do not fit into the middle buffer");
        buffer.consume(2000);
        buffer.relax();
        assert_eq!(buffer.unread(), [2; 3000]);
        assert_eq!(buffer.room().len(), MIDDLE - 3000);
        buffer.consume(3000);
        for size in [MIDDLE, LARGE] {
            assert_eq!(read(&mut buffer, &[3; LARGE]), size);
            buffer.consume(size - 100);
            buffer.consume(if size == MIDDLE { 100 } else { 0 });
        }
        buffer.relax();
        assert_eq!(buffer.unread(), [3; 100]);
        assert_eq!(buffer.room().len(), SMALL - 100);
    }

    #[test]
    fn room_of_consumed_bytes_is_used_before_the_buffer_grows() {
        let mut buffer = Buffer::of(SMALL);
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
        let mut buffer = Buffer::of(SMALL);
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
        assert_eq!(
            Vec::from_iter(sizes),
            [SMALL, MIDDLE, LARGE, 2 * LARGE, 4 * LARGE],
            "it doubles when it is full"
        );
        assert_eq!(buffer.unread(), &stream[7..]);
        assert_eq!(buffer.len(), stream.len() - 7);
        assert_eq!(buffer.take(1..3, 10), &stream[8..10]);
        assert_eq!(buffer.unread(), &stream[17..]);
    }
}
