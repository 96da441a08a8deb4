//! A transport without a kernel, and its peer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::pick;
use super::poll::{Descriptor, Readable};
use super::sync::{Condvar, Mutex};
use crate::reactor::{Flush, Waited};
use crate::transport::{Grace, Linger, Lingered, Received, Transport};

/// One connection, with the state that both ends see.
pub(super) struct Wire {
    state: Mutex<WireState>,
    changed: Condvar,
    descriptor: Descriptor,
    /// How much the peer's window holds.
    window: usize,
    /// Whether the transport can report room to write.
    watched: bool,
}

#[derive(Default)]
struct WireState {
    /// The bytes that the peer has not read yet.
    window: VecDeque<u8>,
    /// The bytes that the peer has read.
    received: Vec<u8>,
    shut: bool,
    aborted: bool,
    /// The server's end was dropped.
    dropped: bool,
    interrupted: bool,
    /// The bytes that the peer has sent.
    inward: VecDeque<u8>,
    ended: bool,
    /// The peer has stopped reading and sending.
    hung: bool,
    flush: Option<Weak<dyn Flush>>,
    /// A write has found too little room. When there is room again, this is reported once.
    starved: bool,
    flush_due: bool,
    /// How many bytes were accepted before the connection has switched to TLS.
    switched: Option<usize>,
    accepted: usize,
}

impl Wire {
    pub(super) fn new(window: usize, watched: bool) -> Arc<Wire> {
        Arc::new_cyclic(|wire: &Weak<Wire>| {
            let descriptor = Descriptor::new(Weak::<Wire>::clone(wire));
            Wire { state: Mutex::default(), changed: Condvar::new(), descriptor, window, watched }
        })
    }

    /// Returns the server's end.
    pub(super) fn transport(self: &Arc<Self>) -> Arc<dyn Transport> {
        Arc::new(ServerEnd(Arc::clone(self)))
    }

    pub(super) fn send(&self, data: &[u8]) {
        self.change(|state| state.inward.extend(data));
        self.descriptor.ready();
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
        self.descriptor.ready();
    }

    pub(super) fn hang(&self) {
        self.change(|state| state.hung = true);
    }

    /// Returns whether the server has dropped its end.
    pub(super) fn is_dropped(&self) -> bool {
        self.state.lock().dropped
    }

    /// Returns whether bytes wait for the peer.
    pub(super) fn has_unread(&self) -> bool {
        !self.state.lock().window.is_empty()
    }

    /// Returns how many bytes were sent in plain text, if the connection has switched to TLS.
    #[cfg(feature = "tls")]
    pub(super) fn switched(&self) -> Option<usize> {
        self.state.lock().switched
    }

    pub(super) fn received(&self) -> Vec<u8> {
        self.state.lock().received.clone()
    }

    /// Reads until the connection ends. The calling thread is the peer, and the reactor as well.
    pub(super) fn read_to_end(&self) -> Vec<u8> {
        self.read_until(|state| state.shut || state.dropped)
    }

    /// Reads until `count` bytes have arrived or the connection ends.
    pub(super) fn read(&self, count: usize) -> Vec<u8> {
        self.read_until(|state| state.received.len() >= count || state.shut || state.dropped)
    }

    fn read_until(&self, done: impl Fn(&WireState) -> bool) -> Vec<u8> {
        loop {
            let mut state = self.state.lock();
            while state.window.is_empty() && !state.flush_due && !state.aborted && !done(&state) {
                self.changed.wait(&mut state);
            }
            if state.aborted || (state.window.is_empty() && done(&state)) {
                state.ended = true;
                let received = state.received.clone();
                drop(state);
                self.changed.notify_all();
                self.descriptor.ready();
                return received;
            }
            let count = pick(state.window.len() + 1);
            let read: Vec<u8> = state.window.drain(..count).collect();
            state.received.extend(read);
            if count > 0 {
                state.flush_due |= std::mem::take(&mut state.starved);
            }
            let due = std::mem::take(&mut state.flush_due);
            let flush = if due { state.flush.clone() } else { None };
            drop(state);
            self.changed.notify_all();
            if let Some(flush) = flush.as_ref().and_then(Weak::upgrade) {
                flush.flush();
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut WireState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    fn accept(&self, state: &mut WireState, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if state.aborted || state.shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.window - state.window.len();
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        state.starved |= bytes.len() > room;
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bytes.truncate(room);
        state.window.extend(&bytes);
        state.accepted += bytes.len();
        Ok(bytes.len())
    }
}

impl Wire {
    fn read_at_once(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut state = self.state.lock();
        if state.aborted {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(match state.take(buffer) {
            0 if state.ended => Received::EndOfInput,
            0 => Received::TimedOut,
            count => Received::Bytes(count),
        })
    }
}

impl Readable for Wire {
    fn readiness(&self) -> Option<bool> {
        let state = self.state.lock();
        let ended = state.ended || state.aborted;
        (ended || !state.inward.is_empty()).then_some(ended)
    }
}

/// The server's end of a [`Wire`].
struct ServerEnd(Arc<Wire>);

impl Transport for ServerEnd {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Received> {
        if limit == Some(Duration::ZERO) {
            return self.0.read_at_once(buffer);
        }
        let mut state = self.0.state.lock();
        while state.inward.is_empty() && !state.ended && !state.aborted && !state.interrupted {
            match limit.map(|limit| Instant::now() + limit) {
                None => self.0.changed.wait(&mut state),
                Some(deadline) if self.0.changed.wait_until(&mut state, deadline).timed_out() => {
                    return Ok(Received::TimedOut);
                }
                Some(_) => {}
            }
        }
        if state.aborted {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.interrupted {
            return Ok(Received::Interrupted);
        }
        Ok(match state.take(buffer) {
            0 => Received::EndOfInput,
            count => Received::Bytes(count),
        })
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.0.descriptor.number())
    }

    /// After an interrupt, this call waits long enough for every peer that reads at all. Therefore the wait
    /// has no second stage in that case.
    fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        loop {
            match self.0.accept(&mut state, parts) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && state.interrupted && !state.hung =>
                {
                    self.0.changed.wait(&mut state);
                }
                result => {
                    drop(state);
                    self.0.changed.notify_all();
                    return result;
                }
            }
        }
    }

    fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.0.accept(&mut self.0.state.lock(), parts);
        self.0.changed.notify_all();
        result
    }

    /// The deadline passes for a peer that hangs, and for no other.
    fn wait_writable(&self, _: Instant) -> Waited {
        let mut state = self.0.state.lock();
        loop {
            if state.window.len() < self.0.window || state.aborted {
                return Waited::Ready;
            }
            if state.hung {
                return Waited::TimedOut;
            }
            if state.interrupted {
                return Waited::Interrupted;
            }
            self.0.changed.wait(&mut state);
        }
    }

    fn interrupt(&self, _: Grace) {
        self.0.change(|state| state.interrupted = true);
    }

    fn abort(&self) {
        self.0.change(|state| {
            state.aborted = true;
            state.interrupted = true;
            state.window.clear();
        });
        self.0.descriptor.ready();
    }

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        if self.0.watched {
            self.0.change(|state| {
                state.flush = Some(flush);
                state.flush_due = true;
            });
        }
        self.0.watched
    }

    fn end_output(&self) {
        self.0.change(|state| state.shut = true);
    }

    /// If the peer has not read everything, it is reported when it reads again.
    fn is_taken(&self) -> bool {
        let mut state = self.0.state.lock();
        let taken = state.window.is_empty() || state.aborted || !self.0.watched;
        state.starved |= !taken;
        taken
    }

    #[cfg(feature = "tls")]
    fn can_start_tls(&self) -> bool {
        self.0.state.lock().switched.is_none()
    }

    /// The handshake is one byte of the peer.
    #[cfg(feature = "tls")]
    fn start_tls(&self) -> io::Result<crate::tls::Session> {
        self.0.change(|state| state.switched = Some(state.accepted));
        match self.read(&mut [0], None)? {
            Received::Bytes(_) => Ok(crate::tls::Session::for_tests()),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn linger(&self, linger: &Linger) -> Lingered {
        // Chance decides whether the peer is slow.
        let slow = linger.maybe_untaken && pick(2) == 0;
        if slow && !linger.may_wait {
            return Lingered::MustWait;
        }
        let waits = linger.written_lately || slow;
        if waits {
            self.end_output();
            if !linger.may_wait {
                return Lingered::Drains;
            }
        }
        let mut state = self.0.state.lock();
        loop {
            state.inward.clear();
            if !waits || state.ended || state.hung || state.aborted {
                return Lingered::Finished;
            }
            self.0.changed.wait(&mut state);
        }
    }
}

impl WireState {
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.inward.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.inward.drain(..count)) {
            *to = from;
        }
        count
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.descriptor.close();
        self.0.change(|state| state.dropped = true);
    }
}
