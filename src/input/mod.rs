//! The input of one client. The thread that serves the client reads it, into a buffer that grows with
//! the traffic and that is given back before a long wait.

mod buffer;
pub(crate) mod stream;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::closing::Closing;
use crate::error::{duplicate, Result};
use crate::frame::Framing;
use crate::input::buffer::Buffer;
use crate::input::stream::Stream;
use crate::limits::Limits;
use crate::logging::trace;
use crate::reactor::WAIT_SLICE;
use crate::transport::{Received, Transport};

/// The shortest time that a read may take.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The bytes of one client, for [`Adapter::serving`](crate::Adapter::serving).
///
/// A read blocks until the peer sends something. It meets the end of input when the peer ends its
/// output. It also meets the end when the client is closed from this side, although bytes may still be
/// unread then. If a read waits longer than the server's idle timeout, the connection ends and the read fails
/// with [`TimedOut`](io::ErrorKind::TimedOut).
///
/// Besides [`chunk`](Input::chunk) and [`frame`](Input::frame), an input implements [`Read`] and
/// [`BufRead`]: `read_line`, `read_exact`, `lines` and every function that takes a reader. All of these
/// may be mixed, because none of them consumes more than it returns.
///
/// `read_line` grows its string without a limit. Use `input.take(limit).read_line(…)` or
/// `input.frame(&mut Lines::default())` to set one.
pub struct Input {
    client: Client,
    transport: Arc<dyn Transport>,
    limits: Arc<Limits>,
    buffer: Buffer,
    /// How many bytes were read in all. The client publishes it.
    bytes_in: u64,
    end_of_input: bool,
    deadline: Option<Instant>,
    /// How long reads have waited without success since the last byte arrived. A read adds to it when it
    /// ends at a deadline.
    waited: Duration,
}

impl Input {
    pub(crate) fn new(client: Client, transport: Arc<dyn Transport>, limits: Arc<Limits>) -> Input {
        Input {
            client,
            transport,
            limits,
            buffer: Buffer::new(),
            bytes_in: 0,
            end_of_input: false,
            deadline: None,
            waited: Duration::ZERO,
        }
    }

    /// Waits for bytes and returns all that have arrived. Returns `None` at the end of input.
    ///
    /// # Errors
    /// - [`TimedOut`](io::ErrorKind::TimedOut) after the idle timeout. The connection has ended then.
    /// - `TimedOut` from the [deadline](Input::set_deadline) on. The connection goes on.
    /// - The error of the system if the connection was lost.
    pub fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let count = self.buffer.len();
        Ok(Some(self.buffer.take(0..count, count)))
    }

    /// Waits for a frame and returns its payload. Returns `None` at the end of input.
    ///
    /// The next call may use another framing or read plain bytes, because the bytes after the frame stay
    /// unread. After an error of a [deadline](Input::set_deadline) the same framing can go on. Bytes
    /// that are read in another way before that would confuse it.
    ///
    /// # Errors
    /// - Every error of [`chunk`](Input::chunk).
    /// - The error of the framing if the bytes are no frame. The crate's own framings return a
    ///   [`FrameError`](crate::framing::FrameError).
    pub fn frame<F: Framing + ?Sized>(&mut self, framing: &mut F) -> Result<Option<&[u8]>> {
        let frame = loop {
            if self.client.is_input_ended() {
                return Ok(None);
            }
            let unread = self.buffer.unread();
            let found = if !unread.is_empty() { framing.decode(unread)? } else { None };
            match found {
                Some(frame) => break frame.check(unread.len())?,
                None if self.end_of_input => match framing.decode_end(unread)? {
                    Some(frame) => break frame.check(unread.len())?,
                    None => return Ok(None),
                },
                None => self.read_more()?,
            }
        };
        Ok(Some(self.buffer.take(frame.payload, frame.used)))
    }

    /// Lets reads fail with [`TimedOut`](io::ErrorKind::TimedOut) from `deadline` on. The connection
    /// goes on after such an error, and the deadline stays until this is called again.
    ///
    /// Default: `None`, which leaves only the idle timeout of the server.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Returns this input and its client as one stream, for libraries that read and write the same
    /// value. Bytes that such a library leaves unread are here again afterwards.
    pub fn stream(&mut self) -> Stream<'_> {
        Stream::new(self)
    }

    /// Returns whether the peer has ended its output.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_of_input
    }

    /// Waits until there is something to consume. Returns `false` at the end of input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() == 0 && !self.end_of_input && !self.client.is_input_ended() {
            self.read_more()?;
        }
        // Asked after the read, because bytes that arrive during a close are not for the adapter.
        Ok(self.buffer.len() > 0 && !self.client.is_input_ended())
    }

    /// Waits for more bytes, for the end of input, or until the client is closed.
    fn read_more(&mut self) -> io::Result<()> {
        let mut since = None;
        loop {
            let limit = match self.limit(&mut since) {
                Ok(limit) => limit,
                Err(error) => {
                    self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
                    return Err(error);
                }
            };
            match self.transport.read(self.buffer.room(), limit) {
                Ok(Received::Bytes(count)) => {
                    self.note(count);
                    return Ok(());
                }
                Ok(Received::EndOfInput) => {
                    self.end_of_input = true;
                    return Ok(());
                }
                Ok(Received::Interrupted) if self.client.is_input_ended() => return Ok(()),
                Ok(Received::Interrupted | Received::TimedOut) => {}
                Err(error) => {
                    self.client.end(Closing::Lost(duplicate(&error)));
                    return Err(error);
                }
            }
            if self.client.is_input_ended() {
                return Ok(());
            }
            self.buffer.relax();
        }
    }

    /// Returns how long the next read may take. `since` is when the whole wait began.
    ///
    /// The clock is asked only if there is a limit, so the common read costs nothing beside the system
    /// call.
    fn limit(&self, since: &mut Option<Instant>) -> io::Result<Option<Duration>> {
        let mut limit = self.limits.idle_timeout();
        if let Some(idle) = limit {
            let left = match *since {
                Some(since) => idle.saturating_sub(self.waited + since.elapsed()),
                // The first read is made in any case.
                None => idle.saturating_sub(self.waited).max(SHORTEST_WAIT),
            };
            if left.is_zero() {
                return Err(self.end_idle(idle));
            }
            since.get_or_insert_with(Instant::now);
            limit = Some(left);
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = "nothing more came from the peer by the deadline";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            limit = Some(limit.map_or(left, |limit| limit.min(left)));
        }
        if self.buffer.is_oversized() {
            // The buffer is given back if this turns out to be a long wait.
            limit = Some(limit.map_or(WAIT_SLICE, |limit| limit.min(WAIT_SLICE)));
        }
        Ok(limit)
    }

    fn note(&mut self, count: usize) {
        self.waited = Duration::ZERO;
        self.buffer.fill(count);
        self.bytes_in += count as u64;
        self.client.set_bytes_in(self.bytes_in);
        trace!("client {}: {count} bytes", self.client.id());
    }

    fn end_idle(&self, limit: Duration) -> io::Error {
        self.client.end(Closing::Idle);
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
        Ok(if self.fill()? { self.buffer.unread() } else { &[] })
    }

    fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("client", &self.client)
            .field("unread", &self.buffer.len())
            .field("end_of_input", &self.end_of_input)
            .finish_non_exhaustive()
    }
}
