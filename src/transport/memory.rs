//! The transport over memory, for tests. It has two bounded pipes. Their other ends belong to the test.
//!
//! The pipe to the server keeps the boundaries of the test's writes, so each write arrives in one read.
//! Therefore a test can split its bytes in any way.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::reactor::{Flush, Waited, WAIT_SLICE};
use crate::transport::{Grace, Linger, Lingered, Received, Transport};

/// One direction of a connection.
pub(crate) struct Pipe {
    state: Mutex<PipeState>,
    /// Signalled at every change. Both ends wait for this.
    changed: Condvar,
    capacity: usize,
}

/// Written by both ends, under the lock.
#[derive(Default)]
struct PipeState {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The writer has ended the pipe. The remaining bytes can still be read.
    ended: bool,
    /// The reader takes no more bytes, or the connection was aborted.
    broken: bool,
    /// The server's end must not wait any longer.
    interrupted: bool,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Arc<Pipe> {
        Arc::new(Pipe { state: Mutex::default(), changed: Condvar::new(), capacity: capacity.max(1) })
    }

    /// Reads from the first chunk. Fails with `TimedOut` at the deadline.
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

    /// Writes as many bytes as there is room for, as one chunk. Fails with `TimedOut` at the deadline.
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
        let count = total.min(self.capacity - state.bytes.min(self.capacity));
        // Only the bytes that there is room for are copied, because the record may be much longer.
        let mut chunk = Vec::with_capacity(count);
        for part in parts {
            let left = count - chunk.len();
            chunk.extend_from_slice(&part[..part.len().min(left)]);
        }
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

    fn interrupt(&self) {
        self.change(|state| state.interrupted = true);
    }

    fn change(&self, change: impl FnOnce(&mut MutexGuard<'_, PipeState>)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until `ready` returns `true`, until an interrupt, or until the deadline.
    fn wait(&self, deadline: Option<Instant>, ready: impl Fn(&PipeState) -> bool) -> Waited {
        let mut state = self.state.lock();
        loop {
            if state.interrupted {
                return Waited::Interrupted;
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
pub(crate) struct MemoryTransport {
    pub(crate) inward: Arc<Pipe>,
    pub(crate) outward: Arc<Pipe>,
    /// The client. The test's end calls it after it has made room or has broken the connection.
    pub(crate) flush: Arc<OnceLock<Weak<dyn Flush>>>,
}

impl Transport for MemoryTransport {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        match self.inward.wait(deadline, |state| !state.chunks.is_empty()) {
            Waited::Ready => match self.inward.read(buffer, Instant::now()) {
                Ok(0) => Ok(Received::EndOfInput),
                Ok(count) => Ok(Received::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Received::TimedOut),
                Err(error) => Err(error),
            },
            Waited::Interrupted => Ok(Received::Interrupted),
            Waited::TimedOut => Ok(Received::TimedOut),
        }
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outward.write(parts, Instant::now() + WAIT_SLICE).map_err(would_block)
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

    fn interrupt(&self, _: Grace) {
        self.inward.interrupt();
        self.outward.interrupt();
    }

    fn abort(&self) {
        self.outward.break_off();
        self.inward.break_off();
        self.interrupt(Grace::Skip);
    }

    /// The test's end calls the client after it has broken the connection.
    fn report_loss(&self, client: Weak<dyn Flush>) {
        let client = self.flush.get_or_init(|| client);
        if self.inward.state.lock().broken {
            if let Some(client) = client.upgrade() {
                client.lost();
            }
        }
    }

    fn end_output(&self) {
        self.outward.end();
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        if !linger.written_lately {
            return Lingered::Finished;
        }
        self.outward.end();
        let mut heard = Instant::now();
        let mut rest = [0; 1024];
        while Instant::now() < linger.deadline {
            match self.inward.read(&mut rest, heard + linger.quiet) {
                Ok(1..) => heard = Instant::now(),
                _ => break,
            }
        }
        Lingered::Finished
    }
}

impl Drop for MemoryTransport {
    /// Does the same as the close of a socket.
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
