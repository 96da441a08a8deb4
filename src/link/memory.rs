//! The link over memory, for tests: two pipes, each with a bound, whose far ends the test holds.
//!
//! The pipe towards the server keeps the borders of what the test writes: each write comes out of
//! one read, so that a test splits its bytes as it likes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Flush, Link, Waited, PATIENCE};

/// One direction.
pub(crate) struct Pipe {
    state: Mutex<State>,
    /// Signalled at every change, awaited by both ends.
    changed: Condvar,
    capacity: usize,
}

/// Written by both ends.
#[derive(Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The writer has ended it: what is in it is still read.
    ended: bool,
    /// The reader takes no more, or the connection was aborted.
    broken: bool,
    /// The reader was kicked out of its wait.
    kicked: bool,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Arc<Pipe> {
        Arc::new(Pipe { state: Mutex::default(), changed: Condvar::new(), capacity: capacity.max(1) })
    }

    /// Reads from the first chunk; `TimedOut` at the deadline.
    pub(crate) fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let mut state = self.state.lock();
        while state.chunks.is_empty() && !state.ended && !state.broken {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(chunk) = state.chunks.front_mut() else { return Ok(0) };
        let count = chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&chunk[..count]);
        chunk.drain(..count);
        if chunk.is_empty() {
            state.chunks.pop_front();
        }
        state.bytes -= count;
        self.changed.notify_all();
        Ok(count)
    }

    /// Writes what there is room for, as one chunk; `TimedOut` at the deadline.
    pub(crate) fn write(&self, parts: &[IoSlice<'_>], deadline: Instant) -> io::Result<usize> {
        let mut state = self.state.lock();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        while state.bytes >= self.capacity && !state.ended && !state.broken && total > 0 {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if state.ended || state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut chunk: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        chunk.truncate(self.capacity - state.bytes.min(self.capacity));
        let count = chunk.len();
        if count > 0 {
            state.bytes += count;
            state.chunks.push_back(chunk);
        }
        self.changed.notify_all();
        Ok(count)
    }

    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    pub(crate) fn break_off(&self) {
        self.change(|state| {
            state.broken = true;
            state.chunks.clear();
            state.bytes = 0;
        });
    }

    fn kick(&self) {
        self.change(|state| state.kicked = true);
    }

    fn change(&self, change: impl FnOnce(&mut MutexGuard<'_, State>)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until `ready`, a kick, or the deadline.
    fn wait(&self, deadline: Option<Instant>, ready: impl Fn(&State) -> bool) -> Waited {
        let mut state = self.state.lock();
        loop {
            if state.kicked {
                return Waited::Kicked;
            }
            if ready(&state) || state.ended || state.broken {
                return Waited::Ready;
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) if self.changed.wait_until(&mut state, deadline).timed_out() => {
                    return Waited::TimedOut;
                }
                Some(_) => {}
            }
        }
    }
}

/// The server's end of a connection in memory.
pub(crate) struct MemoryLink {
    pub(crate) inward: Arc<Pipe>,
    pub(crate) outward: Arc<Pipe>,
    /// Whom the test's end calls when it has made room.
    pub(crate) flush: Arc<OnceLock<Weak<dyn Flush>>>,
}

impl Link for MemoryLink {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        match self.inward.wait(deadline, |state| !state.chunks.is_empty()) {
            Waited::Ready => self.inward.read(buffer, Instant::now()).map_err(would_block),
            Waited::Kicked | Waited::TimedOut => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outward.write(parts, Instant::now() + PATIENCE).map_err(would_block)
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outward.write(parts, Instant::now()).map_err(would_block)
    }

    fn wait_writable(&self, deadline: Instant) -> Waited {
        let capacity = self.outward.capacity;
        self.outward.wait(Some(deadline), |state| state.bytes < capacity)
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        let flush = self.flush.get_or_init(|| flush);
        let room = self.outward.state.lock().bytes < self.outward.capacity;
        if let (true, Some(flush)) = (room, flush.upgrade()) {
            flush.flush();
        }
        true
    }

    fn kick(&self, _notice: bool) {
        self.inward.kick();
        self.outward.kick();
    }

    /// Nothing here destroys what was written.
    fn is_taken(&self) -> bool {
        true
    }

    /// As above.
    fn settle(&self, _deadline: Instant) -> bool {
        false
    }

    fn shut_write(&self) {
        self.outward.end();
    }

    fn drain(&self, quiet: Duration, total: Duration) {
        let start = Instant::now();
        let mut heard = start;
        let mut rest = [0; 1024];
        while !quiet.is_zero() && start.elapsed() < total {
            match self.inward.read(&mut rest, heard + quiet) {
                Ok(1..) => heard = Instant::now(),
                _ => return,
            }
        }
    }

    fn abort(&self) {
        self.outward.break_off();
        self.inward.break_off();
        self.kick(false);
    }
}

impl Drop for MemoryLink {
    /// What a socket does when it is closed.
    fn drop(&mut self) {
        self.outward.end();
        self.inward.break_off();
    }
}

fn would_block(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::ErrorKind::WouldBlock.into(),
        _ => error,
    }
}
