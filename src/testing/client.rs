//! The test's end of a connection.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::closing::Closing;
use crate::machine::running::Running;
use crate::reactor::Flush;
use crate::server::handle::ServerHandle;
use crate::transport::memory::Pipe;

/// A deadline that is beyond the clock's range.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The test's end of a connection in memory: [`Read`], [`Write`], and what else a peer can do.
///
/// Each `write` is one chunk at the adapter, as long as it fits the window and the adapter reads
/// chunks. Reads and writes fail with [`TimedOut`](io::ErrorKind::TimedOut) after the deadline
/// rather than hang. Dropping it resets the connection.
pub struct TestClient {
    pub(super) inward: Arc<Pipe>,
    pub(super) outward: Arc<Pipe>,
    /// Whom to tell that there is room again.
    pub(super) flush: Arc<OnceLock<Weak<dyn Flush>>>,
    pub(super) deadline: Duration,
    pub(super) closing: Receiver<Closing>,
    pub(super) server: ServerHandle,
    pub(super) running: Running,
}

impl TestClient {
    /// Ends the client's output: the adapter comes to the end of input. Replies can still be read.
    pub fn close_write(&self) {
        self.inward.end();
    }

    /// Goes away: the adapter comes to the end of input, and what it writes fails.
    pub fn close(&self) {
        self.inward.end();
        self.outward.break_off();
    }

    /// Breaks the connection, as a peer does that crashes: what the adapter reads and writes fails
    /// with [`ConnectionReset`](io::ErrorKind::ConnectionReset) or
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe), and it ends as [`Closing::Lost`].
    pub fn reset(&self) {
        self.inward.break_off();
        self.outward.break_off();
    }

    /// The server that serves it, whose one client it is: to close it from the server's side, say.
    #[must_use]
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Ends the client's output, waits until the adapter has ended, and says why it did.
    ///
    /// # Panics
    /// If it has not within the deadline.
    #[must_use]
    pub fn finish(self) -> Closing {
        self.close_write();
        self.ended()
    }

    /// Waits until the adapter has ended by itself, and says why it did.
    ///
    /// # Panics
    /// If it has not within the deadline.
    #[must_use]
    pub fn ended(self) -> Closing {
        match self.closing.recv_timeout(self.deadline) {
            Ok(closing) => closing,
            Err(_) => panic!("the adapter has not ended within {:?}", self.deadline),
        }
    }

    fn until(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.deadline).unwrap_or(now + FOR_EVER)
    }
}

/// Two may use it at once: one reads while the other writes.
impl Read for &TestClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.outward.read(buffer, self.until())?;
        if let Some(flush) = self.flush.get().and_then(Weak::upgrade) {
            flush.flush();
        }
        Ok(count)
    }
}

impl Write for &TestClient {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.inward.write(&[IoSlice::new(data)], self.until())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TestClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for TestClient {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.inward.end();
        self.outward.break_off();
        self.running.machine().stop_now();
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient").field("server", &self.server).finish_non_exhaustive()
    }
}
