//! The input of one client. The thread that serves the client reads it into a buffer, which grows with the
//! traffic and is freed before a long wait.

mod buffer;
mod copy;
mod parse;
pub(crate) mod stream;

use std::any::TypeId;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, mem};

use crate::client::Client;
use crate::closing::Closing;
use crate::crew::step_aside;
use crate::crew::turn::{Mode, Turn};
use crate::error::{deadline_passed, duplicate, Result};
use crate::frame::Framing;
use crate::input::buffer::Buffer;
use crate::input::stream::Stream;
use crate::logging::trace;
use crate::reactor::WAIT_SLICE;
use crate::transport::{Received, Transport};

/// The shortest time that a read may take.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The bytes of one client, for [`Adapter::serving`](crate::Adapter::serving).
///
/// A read blocks until the peer sends something. It returns the end of input when the peer ends its output.
/// If a read waits longer than the client's idle timeout, the connection ends and the read fails with
/// [`TimedOut`](io::ErrorKind::TimedOut).
///
/// When the server closes the client or stops, the input ends, even if there are unread bytes. From then on:
///
/// - [`chunk`](Input::chunk), [`frame`](Input::frame) and [`parse`](Input::parse) return `None`.
/// - The methods of [`Read`] and [`BufRead`] fail with
///   [`ConnectionAborted`](io::ErrorKind::ConnectionAborted). Therefore half a message never looks complete.
///   If your code passes this error on with `?`, the reason of the close is kept for `closing`.
///
/// An input also has the methods of [`Read`] and [`BufRead`], such as `read_line`, `read_exact` and `lines`. It can be passed to every function that takes
/// a reader. All of these may be mixed, because none of them consumes more than it returns.
///
/// `read_line` has no limit for the length of a line. Use `input.take(limit).read_line(…)` or
/// `input.frame(&mut Lines::default())` to set a limit.
pub struct Input {
    client: Client,
    transport: Arc<dyn Transport>,
    buffer: Buffer,
    /// How many bytes were read in total. The client publishes this number.
    bytes_in: u64,
    end_of_input: bool,
    deadline: Option<Instant>,
    /// How long reads have waited in vain since the last byte arrived. A read that ends at a deadline adds
    /// its time.
    waited: Duration,
    /// What this session may do with its thread.
    turn: Turn,
    /// Only an adapter of this type gives up the thread, or the adapter in a box whose type is not known. Only the
    /// default `serving` can do that, because it has nothing on its stack.
    pauses: Option<TypeId>,
    /// The client must know how much is unread, because the connection may switch to TLS.
    #[cfg(feature = "tls")]
    may_start_tls: bool,
}

/// What is kept of an input while its client waits without a thread.
pub(crate) struct Paused {
    client: Client,
    transport: Arc<dyn Transport>,
    /// Since when the client has been waiting, if there is a limit.
    since: Option<Instant>,
}

impl Paused {
    pub(crate) fn new(client: Client, transport: Arc<dyn Transport>) -> Paused {
        Paused { client, transport, since: None }
    }

    /// Lets `f` go on for a turn. If the thread is only lent, an adapter of type `A` gives it up when its client
    /// waits.
    ///
    /// An idle client that has a thread waits in here, so this moves no input: two of them would need one more page of
    /// the stack.
    #[inline(always)]
    pub(crate) fn resume<A: 'static, T>(self, turn: &mut Turn, f: impl FnOnce(&mut Input) -> T) -> (T, Self) {
        let mut input = self.input::<A>(mem::take(turn));
        input.buffer.begin();
        let result = f(&mut input);
        let limited = input.client.shared().idle_timeout().is_some();
        let since = if limited { Instant::now().checked_sub(input.waited) } else { None };
        input.turn.room = input.buffer.take_room();
        *turn = input.turn;
        (result, Paused { client: input.client, transport: input.transport, since })
    }

    #[inline(always)]
    fn input<A: 'static>(self, mut turn: Turn) -> Input {
        Input {
            #[cfg(feature = "tls")]
            may_start_tls: self.transport.can_start_tls(),
            bytes_in: self.client.shared().bytes_in(),
            waited: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
            client: self.client,
            transport: self.transport,
            buffer: Buffer::lent(mem::take(&mut turn.room)),
            end_of_input: false,
            deadline: None,
            turn,
            pauses: Some(TypeId::of::<A>()),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(self) -> Input {
        let mut input = self.input::<()>(Turn::default());
        input.buffer.begin();
        input
    }
}

impl Input {
    /// Waits for bytes and returns all that have arrived. Returns `None` at the end of input, and after a close
    /// or a stop.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the idle timeout has passed. The connection is then ending.
    /// - `TimedOut` if the [deadline](Input::set_deadline) has passed. The connection continues.
    /// - The error of the operating system if the connection was lost.
    pub fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill()? {
            return Ok(None);
        }
        let count = self.buffer.len();
        self.note_consumed(count);
        Ok(Some(self.buffer.take(0..count, count)))
    }

    /// Does the same as [`chunk`](Input::chunk) for the default `serving` of the adapter type `A`. If the client gives up
    /// its thread while it waits, it returns `None`, too. Then `serving` must return, and is called again later.
    pub(crate) fn chunk_or_pause<A: ?Sized + 'static>(&mut self) -> io::Result<Option<&[u8]>> {
        if self.turn.mode != Mode::Bound && !self.may_continue(TypeId::of::<A>())? {
            return Ok(None);
        }
        self.chunk()
    }

    /// The adapter of type `A` passes this input on to the adapter in its box.
    pub(crate) fn pass_on<A: 'static>(&mut self) {
        self.pauses = self.pauses.filter(|only| *only != TypeId::of::<A>());
    }

    /// Reads, without keeping other clients waiting. Returns `false` if the client gives up its thread.
    fn may_continue(&mut self, adapter: TypeId) -> io::Result<bool> {
        if self.pauses.is_some_and(|only| only != adapter) || self.turn.wait.is_some() {
            // There is code on the stack that would not expect the end of this loop.
            self.keep_thread();
            return Ok(true);
        }
        let patience = self.turn.before_read();
        if self.buffer.len() > 0 || self.end_of_input || self.client.is_input_ended() {
            return Ok(true);
        }
        if let Some(patience) = patience {
            if self.read_more(Some(patience))? {
                return Ok(true);
            }
            self.waited += patience;
        }
        let until = self.goes_on_at()?;
        self.client.shared().activity().waits();
        self.turn.pause(until);
        Ok(false)
    }

    /// Returns when a client that waits must go on, although nothing has arrived.
    ///
    /// # Errors
    /// The same as for a read whose time is over.
    fn goes_on_at(&self) -> io::Result<Option<Instant>> {
        let idle = self.client.shared().idle_timeout();
        if idle.is_none() && self.deadline.is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        let left = self.shortest_limit(idle, &mut Some(now), false)?;
        Ok(left.and_then(|left| now.checked_add(left)))
    }

    /// From now on, the thread belongs to this client, and its reads wait.
    fn keep_thread(&mut self) {
        if self.turn.mode != Mode::Bound {
            self.turn = Turn::default();
            step_aside();
        }
    }

    /// Waits for a frame and returns its payload. Returns `None` at the end of input, and after a close or a
    /// stop.
    ///
    /// The bytes after the frame stay unread, so the next call may use another framing or read plain bytes.
    /// If a [deadline](Input::set_deadline) has passed within a frame, call this again with the same framing
    /// to continue. Do not read bytes in another way before that.
    ///
    /// # Errors
    /// - Every [`std::io::Error`] of [`chunk`](Input::chunk).
    /// - The error of the framing if the bytes are not a valid frame. The framings of this crate return a
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
                None => self.read_more(None).map(drop)?,
            }
        };
        self.note_consumed(frame.used);
        Ok(Some(self.buffer.take(frame.payload, frame.used)))
    }

    /// Sets a time after which reads fail with [`TimedOut`](io::ErrorKind::TimedOut) instead of waiting. The
    /// connection continues after such an error. The deadline is in effect until this is called again.
    ///
    /// If `serving` passes this error on with `?`, the client ends as [`Failed`](Closing::Failed), with a warning in
    /// the log. Return `Ok(())` instead to end such a client without a warning.
    ///
    /// Default: `None`. Then only the server's idle timeout limits a read.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Returns this input and its client as one stream, for libraries that read from and write to the same
    /// value. Bytes that such a library has not read can be read from this input afterwards.
    pub fn stream(&mut self) -> Stream<'_> {
        Stream::new(self)
    }

    /// Returns `true` if the peer has ended its output.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_of_input
    }

    /// Waits until there is something to consume. Returns `false` at the end of input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() == 0 && !self.end_of_input && !self.client.is_input_ended() {
            self.read_more(None)?;
        }
        // Checked after the read, because bytes that arrive during a close are not for the adapter.
        Ok(self.buffer.len() > 0 && !self.client.is_input_ended())
    }

    /// Waits for more bytes, for the end of input, or until the client is closed. Returns `false` if it waits for at most
    /// `patience`, and that has passed.
    fn read_more(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        if patience.is_none() {
            self.keep_thread();
        }
        self.client.shared().activity().waits();
        let before = self.bytes_in;
        let result = self.await_more(patience);
        if self.bytes_in == before {
            self.client.shared().activity().works();
        }
        result
    }

    fn await_more(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        let mut since = None;
        loop {
            let limit = match self.limit(&mut since) {
                Ok(limit) => limit,
                Err(error) => {
                    self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
                    return Err(error);
                }
            };
            let first = patience.filter(|patience| limit.is_none_or(|limit| *patience <= limit));
            match self.transport.read(self.buffer.room(), first.or(limit)) {
                Ok(Received::Bytes(count)) => {
                    // If a read has not filled the buffer of a socket, the poll reports what comes next (epoll(7)).
                    self.turn.after_read(count == self.buffer.room().len() || !self.transport.reads_all());
                    self.note(count);
                    return Ok(true);
                }
                Ok(Received::EndOfInput) => {
                    self.end_of_input = true;
                    return Ok(true);
                }
                Ok(Received::Interrupted | Received::TimedOut) => {}
                Err(error) => return Err(self.lose(error)),
            }
            if self.client.is_input_ended() {
                return Ok(true);
            }
            if first.is_some() {
                return Ok(false);
            }
            self.buffer.relax();
        }
    }

    /// Returns how long the next read may take. `since` is the time at which the whole wait began.
    ///
    /// The clock is read only if there is a limit, so a read without a limit costs only the system call.
    fn limit(&self, since: &mut Option<Instant>) -> io::Result<Option<Duration>> {
        let idle = self.client.shared().idle_timeout();
        let waits = self.turn.mode != Mode::Shared;
        if !waits || idle.is_none() && self.deadline.is_none() && !self.buffer.is_oversized() {
            return Ok(None);
        }
        self.shortest_limit(idle, since, self.buffer.is_oversized())
    }

    #[inline(never)]
    fn shortest_limit(
        &self,
        idle: Option<Duration>,
        since: &mut Option<Instant>,
        oversized: bool,
    ) -> io::Result<Option<Duration>> {
        let mut limit = None;
        if let Some(idle) = idle {
            let left = match *since {
                Some(since) => idle.saturating_sub(self.waited + since.elapsed()),
                // The first read happens in any case.
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
                return Err(deadline_passed());
            }
            limit = Some(limit.map_or(left, |limit| limit.min(left)));
        }
        if oversized {
            // If this becomes a long wait, the buffer is freed.
            limit = Some(limit.map_or(WAIT_SLICE, |limit| limit.min(WAIT_SLICE)));
        }
        Ok(limit)
    }

    #[cold]
    fn lose(&self, error: io::Error) -> io::Error {
        self.client.end(Closing::Lost(duplicate(&error)));
        error
    }

    /// Publishes how much is unread after `count` bytes are consumed, for `Client::start_tls`.
    fn note_consumed(&self, count: usize) {
        #[cfg(feature = "tls")]
        if self.may_start_tls {
            self.client.set_unread(self.buffer.len().saturating_sub(count));
        }
        #[cfg(not(feature = "tls"))]
        let _ = count;
    }

    fn note(&mut self, count: usize) {
        self.waited = Duration::ZERO;
        self.buffer.fill(count);
        self.bytes_in += count as u64;
        self.client.set_bytes_in(self.bytes_in);
        self.client.shared().activity().received();
        self.note_consumed(0);
        trace!("client {}: {count} bytes", self.client.id());
    }

    fn end_idle(&self, limit: Duration) -> io::Error {
        self.client.end(Closing::Idle);
        let message = format!("the peer sent nothing within {limit:?} (idle_timeout)");
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
    /// # Errors
    /// Returns `ConnectionAborted` if the input has ended before the peer has ended its output.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.fill()? {
            return Ok(self.buffer.unread());
        }
        let complete = self.end_of_input && self.buffer.len() == 0;
        if self.client.is_input_ended() && !complete {
            let message = "the server has closed the connection or is stopping";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, message));
        }
        Ok(&[])
    }

    fn consume(&mut self, count: usize) {
        self.note_consumed(count);
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
