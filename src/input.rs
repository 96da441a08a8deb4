//! The input of one client: its bytes, read by the worker's thread, with a buffer that grows with
//! the traffic and is given back before a long wait.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::closing::Closing;
use crate::error::duplicate;
use crate::link::{Link, Waited, PATIENCE};
use crate::report::report;

/// Where an idle client reads to. It lies in the worker's stack, so that an idle client costs no
/// memory beside the pages that its thread has touched anyway.
const SMALL: usize = 1024;
/// Where a client reads to once a read has filled the small one.
const LARGE: usize = 64 * 1024;
/// After so many reads in a row that would have fit the small buffer, the large one goes.
const CALM: u32 = 64;

/// The bytes of one client, for [`Adapter::serving`](crate::Adapter::serving).
///
/// Reading blocks until the peer sends something. It comes to the end of input when the peer ends
/// its side, and also when the client is closed from this side, whatever is still unread then. A
/// read that waits longer than the server's idle timeout ends the connection and fails with
/// [`TimedOut`](io::ErrorKind::TimedOut).
///
/// Besides [`chunk`](Input::chunk) it is [`Read`] and [`BufRead`]: `read_line`, `read_exact`,
/// `lines`, and whatever takes a reader. Mind that `read_line` grows its string without a limit;
/// `input.take(limit).read_line(…)` sets one.
pub struct Input {
    client: Client,
    link: Arc<dyn Link>,
    small: [u8; SMALL],
    large: Option<Box<[u8]>>,
    /// What is read and not consumed, in the large buffer if there is one.
    start: usize,
    end: usize,
    end_of_input: bool,
    calm: u32,
}

impl Input {
    pub(crate) fn new(client: Client, link: Arc<dyn Link>) -> Input {
        Input { client, link, small: [0; SMALL], large: None, start: 0, end: 0, end_of_input: false, calm: 0 }
    }

    /// Waits for bytes and gives what is there, at most 64 KiB, as they came; `None` at the end of
    /// input.
    ///
    /// # Errors
    /// What the system says of a connection that was lost, or
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the idle timeout. The connection is over then.
    pub fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let start = std::mem::replace(&mut self.start, self.end);
        let buffer = self.large.as_deref().unwrap_or(&self.small);
        Ok(Some(&buffer[start..self.end]))
    }

    /// Whether the peer has ended its side.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_of_input
    }

    /// Sees to it that there is something to consume. False at the end of input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end && !self.end_of_input && !self.client.is_closed() {
            self.read_more()?;
        }
        // Asked after the read: what came while the client was closed is not for the adapter.
        Ok(self.start < self.end && !self.client.is_closed())
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut waiting: Option<Instant> = None;
        loop {
            let buffer = self.large.as_deref_mut().unwrap_or(&mut self.small);
            match self.link.read(buffer) {
                Ok(0) => {
                    self.end_of_input = true;
                    return Ok(());
                }
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    self.note(count);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.client.shared().end(Closing::Lost(duplicate(&error)), false);
                    return Err(error);
                }
            }
            if self.client.is_closed() {
                return Ok(());
            }
            self.large = None;
            self.calm = 0;
            let since = *waiting.get_or_insert_with(|| Instant::now() - PATIENCE);
            let limit = self.client.shared().context.limits.idle_timeout();
            if self.link.wait_readable(limit.map(|limit| since + limit)) == Waited::TimedOut {
                return Err(self.idle_for(limit.unwrap_or_default()));
            }
            if self.client.is_closed() {
                return Ok(());
            }
        }
    }

    /// Counts a read, and fits the buffer to the traffic.
    fn note(&mut self, count: usize) {
        let bytes_in = &self.client.shared().bytes_in;
        // This thread is the only one that writes it.
        bytes_in.store(bytes_in.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        report!(Trace, "client {}: {count} bytes", self.client.id());
        if self.large.is_none() {
            if count == SMALL {
                // What was just read stays where it is until it is consumed: it moves along.
                let mut large = vec![0; LARGE].into_boxed_slice();
                large[..count].copy_from_slice(&self.small);
                self.large = Some(large);
                self.calm = 0;
            }
        } else if count > SMALL {
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                if let Some(large) = self.large.take() {
                    self.small[..count].copy_from_slice(&large[..count]);
                }
            }
        }
    }

    fn idle_for(&self, limit: Duration) -> io::Error {
        self.client.shared().end(Closing::Idle, false);
        let message = format!("nothing came from the peer within {limit:?} (idle_timeout)");
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.fill()? {
            return Ok(&[]);
        }
        let buffer = self.large.as_deref().unwrap_or(&self.small);
        Ok(&buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("client", &self.client)
            .field("unread", &(self.end - self.start))
            .field("end_of_input", &self.end_of_input)
            .finish()
    }
}
