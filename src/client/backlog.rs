//! The backlog: posted bytes that the socket did not take at once.
//!
//! The active writer sends the backlog before it finishes. If no writer is active, the reactor calls
//! [`Flush::flush`] when there is room to write. If the transport cannot report room, a separate thread
//! writes the backlog.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::client::moment::Moment;
use crate::client::state::{ClientShared, ClientState, Guard, CORK_LIMIT};
use crate::client::write::vanished;
use crate::client::Client;
use crate::closing::Closing;
use crate::logging::warn;
use crate::reactor::Flush;
use crate::transport::Transport;

/// The most bytes that are sent while the lock is held.
const MOST_AT_ONCE: usize = 256 * 1024;
/// If the buffer of an empty backlog is larger than this, it is freed.
const KEPT_BACKLOG: usize = 4 * 1024;

impl Client {
    /// Sends `data` as one record and never blocks.
    ///
    /// If the socket does not take everything at once, the rest waits in the client's backlog and is sent as
    /// the peer reads. Posts and writes are sent in the order of the calls.
    ///
    /// # Errors
    /// Returns a [`std::io::Error`]:
    ///
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the client is [closed](Client::is_closed).
    /// - [`WouldBlock`](io::ErrorKind::WouldBlock) if the backlog would exceed the server's
    ///   [limit](crate::TcpServer::max_backlog). Then the connection ends
    ///   ([`TooSlow`](Closing::TooSlow)), and the backlog is dropped. If one record is longer than the limit,
    ///   the message says so.
    /// - The error of the operating system if the connection was lost.
    pub fn post(&self, data: impl AsRef<[u8]>) -> io::Result<()> {
        self.shared.post(data.as_ref())
    }
}

impl ClientShared {
    /// Sends one record and never blocks. The backlog takes the rest.
    pub(crate) fn post(self: &Arc<Self>, data: &[u8]) -> io::Result<()> {
        self.post_at(Moment::now(), data)
    }

    /// Does the same for a caller that knows the time.
    pub(super) fn post_at(self: &Arc<Self>, now: Moment, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let transport = state.writable()?;
        let mut sent = 0;
        if state.corks == 0 && !state.writer_active && state.backlog.is_empty() {
            match transport.try_write(&[IoSlice::new(data)]) {
                Ok(count) => sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose(state, error)),
            }
        }
        state.last_write = Some(now);
        state.bytes_out += sent as u64;
        if sent == data.len() {
            return Ok(());
        }
        let rest = &data[sent..];
        if state.corks > 0 && !state.writer_active && state.backlog.len() + rest.len() > CORK_LIMIT {
            // Until the cork drops, no other thread sends the backlog, however fast the peer reads.
            let transport = Arc::clone(state.writable()?);
            // One part is enough, because each record under the cork sends one.
            if let Err(error) = state.send_backlog(&*transport) {
                return Err(self.lose(state, error));
            }
        }
        let limit = self.context.limits.max_backlog();
        if state.posted() + rest.len() > limit {
            drop(state);
            self.end(Closing::TooSlow, true);
            let message = if data.len() > limit {
                let length = data.len();
                format!("one record of {length} bytes is over the limit of {limit} bytes (max_backlog)")
            } else {
                format!("the backlog is over its limit of {limit} bytes (max_backlog)")
            };
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        state.backlog.extend(rest);
        self.flush_later(state);
        Ok(())
    }

    /// Makes sure that the backlog is sent as the peer reads.
    pub(super) fn flush_later(self: &Arc<Self>, mut state: Guard<'_>) {
        if state.writer_active || state.corks > 0 || state.flush_requested {
            return;
        }
        let Some(transport) = state.transport.clone() else { return };
        state.flush_requested = true;
        state.flush_progress = Some(Instant::now());
        drop(state);
        let weak: Weak<Self> = Arc::downgrade(self);
        if transport.flush_when_writable(weak) {
            return;
        }
        let this = Arc::clone(self);
        let name = format!("backport-flusher-{}", self.id);
        if let Err(error) = self.context.threads.spawn(name, None, false, move || this.flush_blocking()) {
            warn!("client {}: cannot start a thread that writes the backlog: {error}", self.id);
            self.end(Closing::Lost(error), true);
        }
    }

    /// Writes the backlog, for a transport that cannot report room. Runs on its own thread.
    fn flush_blocking(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.flush_requested = false;
        if !state.backlog.is_empty() && !state.is_closing() {
            // An error has already ended the connection, and no caller waits for this result.
            drop(self.send(state, &mut []));
        } else if state.owes_end_of_output() {
            // Nothing reports when the peer has taken the output.
            state.end_output();
        }
    }
}

impl Flush for ClientShared {
    fn flush(&self) {
        loop {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            // The active writer or the last cork sends the backlog, and requests a flush for the rest.
            if state.writer_active || state.corks > 0 || state.is_aborted() {
                state.flush_requested = false;
                return;
            }
            let Some(transport) = state.transport.clone() else { return };
            match state.send_backlog(&*transport) {
                Ok(Sent::All) => {
                    state.end_output_if_taken();
                    // The reactor calls this again when the peer has taken more.
                    state.flush_requested = state.owes_end_of_output();
                    return;
                }
                Ok(Sent::NoRoom) => {
                    state.flush_requested = true;
                    return;
                }
                // The lock is released for other threads.
                Ok(Sent::Part) => {}
                Err(error) => return drop(self.lose(guard, error)),
            }
        }
    }

    /// Tries to send first. The reactor reports room only when a large part of the send buffer is free, so a
    /// slow peer may have taken something without a report.
    fn check_progress(&self) -> Option<Duration> {
        let stall = self.context.limits.stall_timeout()?;
        self.flush();
        let state = self.state.lock();
        // An active writer watches its own progress.
        if !state.flush_requested || state.backlog.is_empty() || state.is_closing() {
            return None;
        }
        let quiet = state.flush_progress?.elapsed();
        if quiet < stall {
            return Some(stall - quiet);
        }
        drop(self.lose(state, vanished()));
        None
    }

    fn lost(&self) {
        self.end(Closing::Lost(io::ErrorKind::ConnectionReset.into()), false);
    }
}

/// How much of a backlog was sent.
enum Sent {
    All,
    /// There is no more room. The reactor reports when there is room again.
    NoRoom,
    /// There may be room for more.
    Part,
}

impl ClientState {
    /// Sends a part of the backlog, or all of it.
    fn send_backlog(&mut self, transport: &dyn Transport) -> io::Result<Sent> {
        let mut left = MOST_AT_ONCE;
        while !self.backlog.is_empty() {
            if left == 0 {
                return Ok(Sent::Part);
            }
            let (first, second) = self.backlog.as_slices();
            let first = &first[..first.len().min(left)];
            let second = &second[..second.len().min(left - first.len())];
            match transport.try_write(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(count) => {
                    self.bytes_out += count as u64;
                    self.backlog.drain(..count);
                    self.flush_progress = Some(Instant::now());
                    self.last_write = Some(Moment::now());
                    left -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::NoRoom),
                Err(error) => return Err(error),
            }
        }
        self.gathered = 0;
        if self.backlog.capacity() > KEPT_BACKLOG {
            self.backlog = VecDeque::new();
        }
        Ok(Sent::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::id::ClientId;
    use crate::client::state::ClientContext;
    use crate::limits::Limits;
    use crate::remote::Remote;
    use crate::threads::MachineThreads;
    use crate::transport::memory::{MemoryTransport, Pipe};

    /// Makes a client with a pipe of this capacity to its peer.
    fn client(capacity: usize, limits: Limits) -> (Arc<ClientShared>, Arc<Pipe>) {
        let outward = Pipe::new(capacity);
        let transport =
            MemoryTransport { inward: Pipe::new(1), outward: Arc::clone(&outward), flush: Arc::default() };
        let context =
            ClientContext { limits: Arc::new(limits), ..ClientContext::for_tests(MachineThreads::new()) };
        let shared =
            ClientShared::new(ClientId::next(), Remote::Memory, Arc::new(transport), Arc::new(context));
        (Arc::new(shared), outward)
    }

    /// P24: if the kernel notices nothing, the write does.
    #[test]
    fn a_write_that_makes_no_progress_for_the_stall_timeout_is_a_loss_and_not_too_slow() {
        let limits = Limits::default();
        limits.set_stall_timeout(Some(std::time::Duration::from_millis(50)));
        let (shared, _outward) = client(4, limits);
        let start = Instant::now();
        let error = shared.write(&[b"too much"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(start.elapsed() >= std::time::Duration::from_millis(50));
        let reason = shared.begin_closing(Ok(Err(error.into())), false);
        assert!(matches!(reason, Closing::Lost(_)), "{reason}");
    }

    /// A peer that takes nothing of a backlog for this long has vanished.
    const STALL: Duration = Duration::from_secs(20);

    /// Posts eight bytes to a peer that has taken none of the last four, and returns the client.
    fn stalling() -> (Arc<ClientShared>, Arc<Pipe>) {
        let limits = Limits::default();
        limits.set_stall_timeout(Some(STALL));
        let (shared, outward) = client(4, limits);
        assert_eq!(shared.check_progress(), None, "there is no backlog");
        shared.post(b"too much").unwrap();
        assert!(shared.check_progress().is_some_and(|after| after <= STALL));
        (shared, outward)
    }

    /// Acts as if the last progress was `STALL` ago.
    fn pass_stall(shared: &ClientShared) {
        let mut state = shared.state.lock();
        state.flush_progress = state.flush_progress.and_then(|progress| progress.checked_sub(STALL));
        assert!(state.flush_progress.is_some(), "the clock of this computer has just begun");
    }

    fn take_two(outward: &Pipe) {
        assert_eq!(outward.read(&mut [0; 2], Instant::now()).unwrap(), 2);
    }

    #[test]
    fn a_backlog_that_makes_no_progress_for_the_stall_timeout_is_a_loss() {
        let (shared, _outward) = stalling();
        pass_stall(&shared);
        assert_eq!(shared.check_progress(), None);
        assert!(shared.is_stopping());
        let Closing::Lost(error) = shared.begin_closing(Ok(Ok(())), false) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn every_flush_that_sends_something_begins_a_new_stall_timeout() {
        let (shared, outward) = stalling();
        pass_stall(&shared);
        take_two(&outward);
        shared.flush();
        assert!(shared.check_progress().is_some());
        pass_stall(&shared);
        take_two(&outward);
        // There was no report of room, so the check itself sends. This is all.
        assert_eq!(shared.check_progress(), None);
        assert!(!shared.is_stopping());
        assert_eq!(shared.stats().backlog, 0);
    }

    /// While the connection is closing, the linger limits the delivery.
    #[test]
    fn the_stall_timeout_of_a_backlog_ends_with_the_conversation() {
        let (shared, _outward) = stalling();
        let reason = shared.begin_closing(Ok(Ok(())), true);
        assert!(matches!(reason, Closing::ByPeer), "{reason}");
        pass_stall(&shared);
        assert_eq!(shared.check_progress(), None);
        let state = shared.state.lock();
        assert!(state.reason.is_none() && !state.cut);
    }

    /// The peer may still wait for the last packets.
    #[test]
    fn output_was_written_lately_if_the_backlog_was_sent_lately() {
        let (shared, outward) = client(4, Limits::default());
        shared.post(b"too much").unwrap();
        // The post was long ago.
        shared.state.lock().last_write = None;
        assert_eq!(outward.read(&mut [0; 8], Instant::now()).unwrap(), 4);
        shared.flush();
        let state = shared.state.lock();
        assert!(state.backlog.is_empty() && state.was_written_lately());
    }

    /// A peer that still sends must not get an error for it.
    #[test]
    fn output_was_written_lately_if_the_closing_sends_the_backlog() {
        let (shared, outward) = client(4, Limits::default());
        shared.post(b"too much").unwrap();
        shared.state.lock().last_write = None;
        assert_eq!(outward.read(&mut [0; 8], Instant::now()).unwrap(), 4);
        let (state, sent) = shared.send_last(shared.state.lock(), Instant::now() + STALL);
        assert!(matches!(sent, Ok(false)));
        assert!(state.backlog.is_empty() && state.was_written_lately());
    }

    /// Posts `count` bytes, flushes them as a peer reads, and returns how much memory is kept.
    fn kept_after(count: usize) -> usize {
        let (shared, outward) = client(1000, Limits::default());
        shared.post(&vec![b'x'; count]).unwrap();
        let mut read = 0;
        while read < count {
            read += outward.read(&mut [0; 1000], Instant::now()).unwrap();
            shared.flush();
        }
        let state = shared.state.lock();
        assert_eq!((state.backlog.len(), state.bytes_out), (0, count as u64));
        state.backlog.capacity()
    }

    #[test]
    fn an_empty_backlog_frees_a_large_buffer_and_keeps_a_small_one() {
        assert_eq!(kept_after(100_000), 0);
        assert!((2000..=KEPT_BACKLOG).contains(&kept_after(3000)));
    }
}
