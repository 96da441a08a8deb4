//! [`TestClient`]: the peer in a test, at the other side of a connection in memory.
//!
//! The threads of the test use it. When it is dropped, the machine that serves it stops.

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

/// Used if the clock cannot express the deadline.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The peer in a test, which reads from, writes to and closes a connection in memory.
///
/// Each `write` arrives at the adapter as one chunk if it fits into the window. Reads and writes block. They
/// fail with [`TimedOut`](io::ErrorKind::TimedOut) at the deadline of the [`Setup`](crate::testing::Setup),
/// so a test does not hang.
///
/// When it is dropped, it closes the connection like [`close`](TestClient::close). It also stops the server's
/// machine, without waiting for the stop to finish.
pub struct TestClient {
    pub(super) inward: Arc<Pipe>,
    pub(super) outward: Arc<Pipe>,
    /// Called after each read, because there is then room for more output of the server.
    pub(super) flush: Arc<OnceLock<Weak<dyn Flush>>>,
    pub(super) deadline: Duration,
    pub(super) closing: Receiver<Closing>,
    pub(super) server: ServerHandle,
    pub(super) running: Running,
}

impl TestClient {
    /// Ends the peer's output, so the adapter reaches the end of input. Replies can still be read. Does not
    /// block.
    pub fn close_write(&self) {
        self.inward.end();
    }

    /// Closes the connection. The adapter reaches the end of input, and its writes fail. Does not block.
    pub fn close(&self) {
        self.inward.end();
        self.outward.break_off();
    }

    /// Resets the connection, like a peer that crashes. Does not block.
    ///
    /// Reads and writes of the adapter fail with [`ConnectionReset`](io::ErrorKind::ConnectionReset) or
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe). The connection ends as [`Closing::Lost`].
    pub fn reset(&self) {
        self.inward.break_off();
        self.outward.break_off();
        // A session that waits for holds does not read.
        if let Some(client) = self.flush.get().and_then(Weak::upgrade) {
            client.lost();
        }
    }

    /// Returns the server, for example to close the connection from the server's side. The server has only
    /// this client.
    #[must_use]
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Ends the peer's output, and blocks until the connection has ended. Returns the reason.
    ///
    /// # Panics
    /// Panics if the connection has not ended within the deadline.
    #[must_use]
    pub fn finish(self) -> Closing {
        self.close_write();
        self.ended()
    }

    /// Blocks until the server has ended the connection. Returns the reason.
    ///
    /// # Panics
    /// Panics if the connection has not ended within the deadline.
    #[must_use]
    pub fn ended(self) -> Closing {
        match self.closing.recv_timeout(self.deadline) {
            Ok(closing) => closing,
            Err(_) => panic!("the connection has not ended within {:?}", self.deadline),
        }
    }

    /// Returns the deadline of a call that begins now.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.deadline).unwrap_or(now + FOR_EVER)
    }
}

/// Two threads can use a test client at once, so that one reads while the other writes.
impl Read for &TestClient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.outward.read(buffer, self.deadline())?;
        if let Some(flush) = self.flush.get().and_then(Weak::upgrade) {
            flush.flush();
        }
        Ok(count)
    }
}

impl Write for &TestClient {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.inward.write(&[IoSlice::new(data)], self.deadline())
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
