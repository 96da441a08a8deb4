//! A transport without a kernel, and the peer at its far end.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::pick;
use super::sync::{Condvar, Mutex};
use crate::transport::{Flush, Transport, Waited};

/// One connection: what both ends see of it.
pub(super) struct Wire {
    state: Mutex<State>,
    changed: Condvar,
    /// How much the peer's window holds.
    window: usize,
    /// Whether the transport can say when there is room.
    watched: bool,
}

#[derive(Default)]
struct State {
    /// What the peer has not read yet, and what it has.
    window: VecDeque<u8>,
    received: Vec<u8>,
    shut: bool,
    aborted: bool,
    /// The server's end was dropped.
    gone: bool,
    interrupted: bool,
    /// What the peer has sent.
    inward: VecDeque<u8>,
    ended: bool,
    /// The peer reads no more and says nothing more.
    hung: bool,
    flush: Option<Weak<dyn Flush>>,
    /// A write has found too little room: the next that there is will be told, once, as a poll does
    /// that is edge-triggered.
    starved: bool,
    flush_due: bool,
}

impl Wire {
    pub(super) fn new(window: usize, watched: bool) -> Arc<Wire> {
        Arc::new(Wire { state: Mutex::default(), changed: Condvar::new(), window, watched })
    }

    /// The server's end.
    pub(super) fn transport(self: &Arc<Self>) -> Arc<dyn Transport> {
        Arc::new(End(Arc::clone(self)))
    }

    pub(super) fn send(&self, data: &[u8]) {
        self.change(|state| state.inward.extend(data));
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    pub(super) fn hang(&self) {
        self.change(|state| state.hung = true);
    }

    /// Whether the server has let go of it.
    pub(super) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    pub(super) fn received(&self) -> Vec<u8> {
        self.state.lock().received.clone()
    }

    /// The peer, on a thread of its own, which is the reactor too: reads until the connection ends.
    pub(super) fn read_to_end(&self) -> Vec<u8> {
        self.read_until(|state| state.shut || state.gone)
    }

    /// The same, until so many bytes have come or the connection ends.
    pub(super) fn read(&self, count: usize) -> Vec<u8> {
        self.read_until(|state| state.received.len() >= count || state.shut || state.gone)
    }

    fn read_until(&self, done: impl Fn(&State) -> bool) -> Vec<u8> {
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

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    fn accept(&self, state: &mut State, parts: &[IoSlice<'_>]) -> io::Result<usize> {
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
        Ok(bytes.len())
    }
}

/// The server's end of a [`Wire`].
struct End(Arc<Wire>);

impl Transport for End {
    fn read(&self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        let mut waited = false;
        while state.inward.is_empty() && !state.ended && !state.aborted && !state.interrupted {
            waited = true;
            match limit.map(|limit| Instant::now() + limit) {
                None => self.0.changed.wait(&mut state),
                Some(deadline) if self.0.changed.wait_until(&mut state, deadline).timed_out() => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Some(_) => {}
            }
        }
        if state.aborted {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.interrupted && !waited {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Nothing, for the end or a interrupt.
        let count = state.inward.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(state.inward.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    /// A peer that reads does so within our patience once the transport was interrupted: waiting has no
    /// second stage then.
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

    fn flush_when_writable(&self, flush: Weak<dyn Flush>) -> bool {
        if self.0.watched {
            self.0.change(|state| {
                state.flush = Some(flush);
                state.flush_due = true;
            });
        }
        self.0.watched
    }

    fn interrupt(&self, _: bool) {
        self.0.change(|state| state.interrupted = true);
    }

    fn is_taken(&self) -> bool {
        pick(2) == 0
    }

    fn settle(&self, _: Instant) -> bool {
        pick(2) == 0
    }

    fn shut_write(&self) {
        self.0.change(|state| state.shut = true);
    }

    fn drain(&self, quiet: Duration, _: Duration) {
        let mut state = self.0.state.lock();
        loop {
            state.inward.clear();
            if quiet.is_zero() || state.ended || state.hung || state.aborted {
                return;
            }
            self.0.changed.wait(&mut state);
        }
    }

    fn abort(&self) {
        self.0.change(|state| {
            state.aborted = true;
            state.interrupted = true;
            state.window.clear();
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.change(|state| state.gone = true);
    }
}
