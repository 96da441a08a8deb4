//! The input of one client: its bytes, read by the worker's thread, with a buffer that grows with
//! the traffic and is given back before a long wait.

mod buffer;
pub(crate) mod stream;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::closing::Closing;
use crate::error::{duplicate, Result};
use crate::framing::Framing;
use crate::input::buffer::Buffer;
use crate::input::stream::Stream;
use crate::link::{Link, PATIENCE};
use crate::report::report;

/// The shortest time that a read may take.
const MOMENT: Duration = Duration::from_millis(1);

/// The bytes of one client, for [`Adapter::serving`](crate::Adapter::serving).
///
/// Reading blocks until the peer sends something. It comes to the end of input when the peer ends
/// its side, and also when the client is closed from this side, whatever is still unread then. A
/// read that waits longer than the server's idle timeout ends the connection and fails with
/// [`TimedOut`](io::ErrorKind::TimedOut).
///
/// Besides [`chunk`](Input::chunk) and [`frame`](Input::frame) it is [`Read`] and [`BufRead`]:
/// `read_line`, `read_exact`, `lines`, and whatever takes a reader. Mind that `read_line` grows its
/// string without a limit; `input.take(limit).read_line(…)` sets one, and so does
/// `input.frame(&mut Lines::default())`. All of these may be mixed: none reads ahead of what it gives.
pub struct Input {
    client: Client,
    link: Arc<dyn Link>,
    buffer: Buffer,
    end_of_input: bool,
    deadline: Option<Instant>,
    /// How long reads have waited in vain that ended at a deadline, since something came.
    waited: Duration,
}

impl Input {
    pub(crate) fn new(client: Client, link: Arc<dyn Link>) -> Input {
        Input {
            client,
            link,
            buffer: Buffer::new(),
            end_of_input: false,
            deadline: None,
            waited: Duration::ZERO,
        }
    }

    /// Waits for bytes and gives what is there, as it came; `None` at the end of input.
    ///
    /// # Errors
    /// What the system says of a connection that was lost, or
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the idle timeout: the connection is over then.
    pub fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let count = self.buffer.len();
        Ok(Some(self.buffer.take(0..count, count)))
    }

    /// Waits for a frame and gives it, without its framing; `None` at the end of input.
    ///
    /// Another framing may follow at the next call, or raw bytes: what comes behind the frame stays
    /// unread. After an error of a [deadline](Input::set_deadline) the same framing goes on where it
    /// was; bytes that are read in other ways in between would confuse it.
    ///
    /// # Errors
    /// What [`chunk`](Input::chunk) may fail with, and what the framing says of bytes that are no
    /// frame: a [`FrameError`](crate::framing::FrameError), of the crate's own framings.
    pub fn frame<F: Framing + ?Sized>(&mut self, framing: &mut F) -> Result<Option<&[u8]>> {
        let frame = loop {
            if self.client.is_closed() {
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

    /// Lets reads fail with [`TimedOut`](io::ErrorKind::TimedOut) from `deadline` on, until it is
    /// set anew. The connection goes on after such an error. Default: `None`, which waits as long as
    /// the server's idle timeout lets it.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// This input and its client as one stream, for libraries that want [`Read`] and
    /// [`Write`](io::Write) in one. What they leave unread is here again afterwards.
    pub fn stream(&mut self) -> Stream<'_> {
        Stream::new(self)
    }

    /// Whether the peer has ended its side.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_of_input
    }

    /// Sees to it that there is something to consume. False at the end of input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() == 0 && !self.end_of_input && !self.client.is_closed() {
            self.read_more()?;
        }
        // Asked after the read: what came while the client was closed is not for the adapter.
        Ok(self.buffer.len() > 0 && !self.client.is_closed())
    }

    /// Waits for more bytes, the end of input, or the client's end.
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
            match self.link.read(self.buffer.room(), limit) {
                Ok(0) => {
                    // What a kick has ended may go on at the peer.
                    self.end_of_input = !self.client.is_closed();
                    return Ok(());
                }
                Ok(count) => {
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
            self.buffer.relax();
        }
    }

    /// How long the next read may take, of a wait that goes on `since` then. The clock is asked only
    /// where something limits it, so that the common read costs no more than the system call.
    fn limit(&self, since: &mut Option<Instant>) -> io::Result<Option<Duration>> {
        let mut limit = self.client.shared().context.limits.idle_timeout();
        if let Some(idle) = limit {
            let left = match *since {
                Some(since) => idle.saturating_sub(self.waited + since.elapsed()),
                // It looks once in any case.
                None => idle.saturating_sub(self.waited).max(MOMENT),
            };
            if left.is_zero() {
                return Err(self.idle_for(idle));
            }
            since.get_or_insert_with(Instant::now);
            limit = Some(left);
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(too_late());
            }
            limit = Some(limit.map_or(left, |limit| limit.min(left)));
        }
        if self.buffer.is_oversized() {
            // It is given back if the wait turns out a long one.
            limit = Some(limit.map_or(PATIENCE, |limit| limit.min(PATIENCE)));
        }
        Ok(limit)
    }

    fn note(&mut self, count: usize) {
        self.waited = Duration::ZERO;
        self.buffer.fill(count);
        let bytes_in = &self.client.shared().bytes_in;
        // This thread is the only one that writes it.
        bytes_in.store(bytes_in.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        report!(Trace, "client {}: {count} bytes", self.client.id());
    }

    fn idle_for(&self, limit: Duration) -> io::Error {
        self.client.shared().end(Closing::Idle, false);
        let message = format!("nothing came from the peer within {limit:?} (idle_timeout)");
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nothing more came from the peer by the deadline")
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
