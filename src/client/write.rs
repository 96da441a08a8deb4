//! The write path of a client.
//!
//! A write first tries to send under the lock without waiting. Nearly every write is done after that, with
//! one lock and one system call. If the socket does not take everything, the thread becomes the active
//! writer, releases the lock and waits for room. Until it has finished, other writers wait for their turn and
//! posts go to the [`backlog`](super::backlog). Therefore `post` and `close` never wait for a blocked writer.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use crate::client::linger::{LingerLimit, SendError};
use crate::client::moment::Moment;
use crate::client::state::{ClientShared, ClientState, Guard, HalfClose, Output, CORK_LIMIT};
use crate::client::Client;
use crate::closing::Closing;
use crate::crew::step_aside;
use crate::error::duplicate;
use crate::frame::Framing;
use crate::reactor::Waited;
use crate::sync::thread;
use crate::transport::Transport;

impl Client {
    /// Writes all of `data` as one record. Records from several threads never mix.
    ///
    /// Blocks while the peer's receive window is full, for at most the server's write timeout in total, even
    /// if the peer keeps reading a few bytes at a time. After the timeout the connection ends
    /// ([`TooSlow`](Closing::TooSlow)).
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]. The connection has ended or is ending after each of these errors:
    ///
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the client is [closed](Client::is_closed). While it is
    ///   being closed, only [`closing`](crate::Adapter::closing) may still write. After a stop, writes succeed
    ///   until `closing` begins.
    /// - [`TimedOut`](io::ErrorKind::TimedOut) if the write timeout has passed.
    /// - The error of the operating system if the connection was lost.
    pub fn write(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.write_one(data.as_ref())
    }

    /// Writes `line` as one record. Adds a line feed unless `line` already ends in a line feed.
    ///
    /// # Errors
    /// The same as for [`write`](Client::write).
    pub fn write_line(&self, line: impl AsRef<[u8]>) -> io::Result<()> {
        let line = line.as_ref();
        if line.ends_with(b"\n") {
            self.shared.write(&[line])
        } else {
            self.shared.write(&[line, b"\n"])
        }
    }

    /// Writes formatted text as one record. The macro `write!` calls this:
    /// `write!(client, "{name}: {text}")`. All text is formatted before anything is written.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - An error of kind [`Other`](io::ErrorKind::Other) if a formatter fails. Nothing is written, and the
    ///   connection continues.
    /// - Every error of [`write`](Client::write).
    pub fn write_fmt(&self, record: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(text) = record.as_str() {
            return self.write(text);
        }
        let mut text = String::new();
        fmt::write(&mut text, record).map_err(|_| io::Error::other("a formatter failed"))?;
        self.write(text)
    }

    /// Writes several parts as one record. Makes only one system call if the socket takes everything at once.
    ///
    /// # Errors
    /// The same as for [`write`](Client::write).
    pub fn write_vectored_all(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.shared.write(parts)
    }

    /// Waits until all output is sent that was [posted](Client::post) or gathered under a
    /// [cork](Client::cork): the kernel has taken it. Blocks for at most the server's write timeout. Usually
    /// there is nothing to wait for.
    ///
    /// # Errors
    /// The same as for [`write`](Client::write).
    pub fn flush(&self) -> io::Result<()> {
        self.shared.flush_now()
    }

    /// Puts `payload` into a frame of `framing`, and writes the frame as one record.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the payload does not fit into a frame. Nothing is
    ///   written, and the connection continues.
    /// - Every error of [`write`](Client::write).
    pub fn write_frame<F: Framing + ?Sized>(&self, framing: &F, payload: impl AsRef<[u8]>) -> io::Result<()> {
        framing.encode(payload.as_ref(), &mut |parts| self.shared.write(parts))
    }
}

impl ClientShared {
    /// Writes all the parts as one record.
    pub(crate) fn write(self: &Arc<Self>, parts: &[&[u8]]) -> io::Result<()> {
        const FEW: usize = 8;
        if let [one] = parts {
            self.write_one(one)
        } else if parts.len() <= FEW {
            let mut slices = [IoSlice::new(&[]); FEW];
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            self.write_slices(&mut slices[..parts.len()])
        } else {
            let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            self.write_slices(&mut slices)
        }
    }

    /// Writes one part as one record, as nearly every write does. Without a list of parts, a write takes a quarter
    /// fewer instructions.
    pub(crate) fn write_one(self: &Arc<Self>, data: &[u8]) -> io::Result<()> {
        self.write_slices(&mut [IoSlice::new(data)])
    }

    #[inline(always)]
    fn write_slices(self: &Arc<Self>, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.state.lock();
        let transport = state.writable()?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Ok(());
        }
        if state.corks > 0 {
            if state.gathered + total > CORK_LIMIT {
                return self.send(state, slices);
            }
            for slice in &*slices {
                state.backlog.extend(&**slice);
            }
            state.gathered += total;
            state.last_write = Some(Moment::now());
            return Ok(());
        }
        if !state.writer_active && state.backlog.is_empty() {
            match transport.try_write(slices) {
                Ok(count) => {
                    state.last_write = Some(Moment::now());
                    state.bytes_out += count as u64;
                    if count == total {
                        return Ok(());
                    }
                    IoSlice::advance_slices(&mut slices, count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose(state, error)),
            }
        }
        self.send(state, slices)
    }

    pub(super) fn cork(&self) {
        self.state.lock().corks += 1;
    }

    pub(super) fn uncork(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.corks -= 1;
        // The closing of the connection sends the rest.
        let idle = state.backlog.is_empty() && !state.owes_end_of_output();
        if state.corks > 0 || idle || state.is_closing() {
            return Ok(());
        }
        self.send(state, &mut [])
    }

    /// Sends the backlog if there is one, even if another thread is about to send it.
    pub(super) fn flush_now(self: &Arc<Self>) -> io::Result<()> {
        let state = self.state.lock();
        if state.unsent() == 0 {
            return Ok(());
        }
        state.may_wait()?;
        self.send(state, &mut [])
    }

    pub(super) fn write_gathered(self: &Arc<Self>) -> io::Result<()> {
        let state = self.state.lock();
        state.may_wait()?;
        if state.unsent() == 0 {
            return Ok(());
        }
        self.send(state, &mut [])
    }

    /// Waits until no other writer is active, then sends the backlog and `slices`. Blocks for at most the
    /// write timeout in total.
    pub(super) fn send(self: &Arc<Self>, mut state: Guard<'_>, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let deadline = Instant::now() + self.context.limits.write_timeout();
        // A thread that has already sent a part of its record still holds the lock, so no writer is active.
        while state.writer_active {
            step_aside();
            if self.changed.wait_until(&mut state, deadline).timed_out() && state.writer_active {
                return Err(self.end_too_slow(state));
            }
            // A record that has not begun is refused after `close_write`. Accepted output is still sent.
            if slices.is_empty() {
                state.may_wait()?;
            } else {
                state.writable()?;
            }
        }
        let (state, result) = self.send_unlocked(state, slices, deadline);
        let state = self.end_if_failed(state, result)?;
        if state.corks == 0 {
            self.flush_rest(state);
        }
        Ok(())
    }

    /// Ends the connection if its active writer has failed.
    pub(super) fn end_if_failed<'a>(
        &self,
        state: Guard<'a>,
        result: Result<(), SendError>,
    ) -> io::Result<Guard<'a>> {
        match result {
            Ok(()) => Ok(state),
            Err(SendError::TimedOut) => Err(self.end_too_slow(state)),
            Err(SendError::Lost(error)) => Err(self.lose(state, error)),
        }
    }

    /// Makes sure that output is sent which other threads have left while this thread was the active writer.
    pub(super) fn flush_rest(self: &Arc<Self>, state: Guard<'_>) {
        if !state.backlog.is_empty() || state.owes_end_of_output() {
            self.flush_later(state);
        }
    }

    /// Becomes the active writer, and sends the backlog and `slices` with the lock released.
    pub(super) fn send_unlocked<'a>(
        &'a self,
        mut state: Guard<'a>,
        slices: &mut [IoSlice<'_>],
        deadline: Instant,
    ) -> (Guard<'a>, Result<(), SendError>) {
        let Some(transport) = state.transport.clone() else {
            return (state, Err(SendError::Lost(io::ErrorKind::BrokenPipe.into())));
        };
        state.writer_active = true;
        let mut backlog = std::mem::take(&mut state.backlog);
        state.in_flight = backlog.len();
        let gathered = state.gathered;
        drop(state);
        step_aside();
        let mut result = self.send_all(&*transport, &mut [IoSlice::new(backlog.make_contiguous())], deadline);
        if result.is_ok() {
            result = self.send_all(&*transport, slices, deadline);
        }
        drop(backlog);
        let mut state = self.state.lock();
        state.writer_active = false;
        state.in_flight = 0;
        state.gathered = state.gathered.saturating_sub(gathered);
        state.end_output_if_taken();
        // All threads are woken, because one of them may be the session, which waits for its last step.
        self.changed.notify_all();
        (state, result)
    }

    /// Sends the backlog, and then the farewell of the transport. Returns `true` if there was a farewell.
    pub(super) fn send_last<'a>(
        &'a self,
        mut state: Guard<'a>,
        deadline: Instant,
    ) -> (Guard<'a>, Result<bool, SendError>) {
        if !state.backlog.is_empty() {
            let (guard, sent) = self.send_unlocked(state, &mut [], deadline);
            state = guard;
            if let Err(error) = sent {
                return (state, Err(error));
            }
        }
        let Some(transport) = state.transport.clone() else { return (state, Ok(false)) };
        drop(state);
        let mut any = false;
        let step = || match transport.write_farewell() {
            Ok(Some(sent)) => {
                any = true;
                Ok((sent, false))
            }
            Ok(None) => Ok((0, true)),
            Err(error) => {
                any = true;
                Err(error)
            }
        };
        let result = self.repeat(&*transport, deadline, step);
        (self.state.lock(), result.map(|()| any))
    }

    fn send_all(
        &self,
        transport: &dyn Transport,
        mut slices: &mut [IoSlice<'_>],
        deadline: Instant,
    ) -> Result<(), SendError> {
        // This also skips empty slices.
        IoSlice::advance_slices(&mut slices, 0);
        if slices.is_empty() {
            return Ok(());
        }
        self.repeat(transport, deadline, || {
            let sent = transport.write(slices)?;
            IoSlice::advance_slices(&mut slices, sent);
            self.state.lock().note_sent(sent);
            Ok((sent, slices.is_empty()))
        })
    }

    /// Repeats `step`, which sends something and returns how much, until it returns `true` or a time limit has
    /// passed.
    fn repeat(
        &self,
        transport: &dyn Transport,
        deadline: Instant,
        mut step: impl FnMut() -> io::Result<(usize, bool)>,
    ) -> Result<(), SendError> {
        let mut linger = LingerLimit::new();
        let mut progress = Instant::now();
        loop {
            let sent = match step() {
                Ok((_, true)) => return Ok(()),
                Ok((count, false)) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(SendError::Lost(error)),
            };
            let (lingers, by_stop) = {
                let state = self.state.lock();
                (state.is_closing() && !self.context.patient, state.by_stop)
            };
            let now = Instant::now();
            if sent > 0 {
                progress = now;
            }
            let limit = if lingers { deadline.min(linger.next(now, sent > 0, by_stop)) } else { deadline };
            // The kernel sometimes needs longer than its own limit (see `TcpServer::keepalive`).
            let stalled = self.context.limits.stall_timeout().map(|stall| progress + stall);
            let wait = stalled.map_or(limit, |stalled| limit.min(stalled));
            let timed_out = now >= wait || (sent == 0 && transport.wait_writable(wait) == Waited::TimedOut);
            if timed_out && wait < limit {
                // A slow peer may have taken something without a report of room. The next write finds out.
                if now >= wait {
                    return Err(SendError::Lost(vanished()));
                }
            } else if timed_out && (limit == deadline || !linger.extend(transport)) {
                return Err(SendError::TimedOut);
            }
        }
    }

    /// Ends the connection of a peer that did not read in time. The caller still holds the lock, so that nothing
    /// follows a record that is cut.
    pub(super) fn end_too_slow(&self, mut state: Guard<'_>) -> io::Error {
        let was_closing = state.is_closing();
        state.cut |= was_closing && !state.is_aborted();
        self.end_locked(state, Closing::TooSlow, true);
        if was_closing {
            // The time limits of the linger have ended the write.
            return io::ErrorKind::BrokenPipe.into();
        }
        let limit = self.context.limits.write_timeout();
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the peer did not read within {limit:?} (write_timeout)"),
        )
    }

    /// Ends the connection after an I/O error. The caller and `closing` each get a copy of the error.
    pub(super) fn lose(&self, mut state: Guard<'_>, error: io::Error) -> io::Error {
        state.cut |= error.kind() == io::ErrorKind::TimedOut && state.is_closing() && !state.is_aborted();
        self.end_locked(state, Closing::Lost(duplicate(&error)), false);
        error
    }
}

/// Returns the error with which the system reports that a peer has vanished.
pub(super) fn vanished() -> io::Error {
    #[cfg(unix)]
    const ETIMEDOUT: i32 = libc::ETIMEDOUT;
    #[cfg(not(unix))]
    const ETIMEDOUT: i32 = 10060; // WSAETIMEDOUT
    io::Error::from_raw_os_error(ETIMEDOUT)
}

impl ClientState {
    /// Returns the transport if the calling thread may write.
    ///
    /// # Errors
    /// `BrokenPipe` if it may not.
    pub(super) fn writable(&self) -> io::Result<&Arc<dyn Transport>> {
        match &self.transport {
            Some(transport) if self.half_close == HalfClose::No && self.is_permitted() => Ok(transport),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Checks if the calling thread may wait until accepted output is sent. `close_write` does not prevent it.
    ///
    /// # Errors
    /// `BrokenPipe` if it may not.
    fn may_wait(&self) -> io::Result<()> {
        let may = self.is_permitted() && self.transport.is_some();
        may.then_some(()).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns `true` if the calling thread may use the output in this stage of the connection.
    fn is_permitted(&self) -> bool {
        match self.output {
            Output::Open => true,
            Output::ClosingOnly(thread) => thread == thread::current().id(),
            Output::HeldBack | Output::Refused | Output::Aborted => false,
        }
    }

    /// Counts bytes that the active writer has sent: first those from the backlog, then its own.
    fn note_sent(&mut self, count: usize) {
        self.in_flight = self.in_flight.saturating_sub(count);
        self.bytes_out += count as u64;
        self.last_write = Some(Moment::now());
    }
}
