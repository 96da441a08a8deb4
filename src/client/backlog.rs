//! The backlog: what was posted and the socket didn't take at once.
//!
//! Who flushes it: whoever holds the turn when it ends it, else the link (its watcher calls
//! [`Flush::flush`]), else a thread that is started for it where the link can't.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::client::output::{admit, Guard, Shared, State, CORK_LIMIT};
use crate::closing::Closing;
use crate::link::{Flush, Link};
use crate::report::report;

/// A backlog that has drained gives a larger buffer back.
const KEPT_BACKLOG: usize = 4 * 1024;

impl Shared {
    /// Sends one record and never blocks; the rest goes to the backlog.
    pub(crate) fn post(self: &Arc<Self>, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let link = admit(&state)?;
        let mut sent = 0;
        if state.corks == 0 && !state.busy && state.backlog.is_empty() {
            match link.try_write(&[IoSlice::new(data)]) {
                Ok(count) => sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose(state, error)),
            }
        }
        state.last_write = Some(Instant::now());
        state.bytes_out += sent as u64;
        if sent == data.len() {
            return Ok(());
        }
        let rest = &data[sent..];
        if state.corks > 0 && !state.busy && state.backlog.len() + rest.len() > CORK_LIMIT {
            // Nobody will send it before the cork is let go, however fast the peer reads.
            let link = Arc::clone(admit(&state)?);
            if let Err(error) = state.send_backlog(&*link) {
                return Err(self.lose(state, error));
            }
        }
        if state.posted() + rest.len() > self.context.limits.max_backlog() {
            drop(state);
            self.end(Closing::TooSlow, true);
            let limit = self.context.limits.max_backlog();
            let message = format!("the backlog is over its limit of {limit} bytes (max_backlog)");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        state.backlog.extend(rest);
        self.flush_later(state);
        Ok(())
    }

    /// Sees to it that the backlog goes out as the peer reads.
    pub(super) fn flush_later(self: &Arc<Self>, mut state: Guard<'_>) {
        if state.busy || state.corks > 0 || state.armed {
            return;
        }
        let Some(link) = state.link.clone() else { return };
        state.armed = true;
        drop(state);
        let weak: Weak<Self> = Arc::downgrade(self);
        if link.flush_when_writable(weak) {
            return;
        }
        let this = Arc::clone(self);
        let name = format!("backport-flusher-{}", self.id);
        if let Err(error) = self.context.threads.spawn(name, None, move || this.flush_blocking()) {
            report!(Warn, "client {}: no thread to write its backlog: {error}", self.id);
            self.end(Closing::Lost(error), true);
        }
    }

    /// Writes the backlog from a thread of its own, where a link can't say when there is room.
    fn flush_blocking(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.armed = false;
        if !state.backlog.is_empty() && admit(&state).is_ok() {
            // An error has ended the connection, which is all that there is to tell.
            drop(self.send(state, &mut []));
        }
    }
}

impl Flush for Shared {
    fn flush(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // The writer, or the last cork, sees to it, and asks anew for what it leaves.
        if state.busy || state.corks > 0 || state.aborted {
            state.armed = false;
            return;
        }
        let Some(link) = state.link.clone() else { return };
        match state.send_backlog(&*link) {
            Ok(all) => state.armed = !all,
            Err(error) => drop(self.lose(guard, error)),
        }
    }
}

impl State {
    /// Sends what there is room for; whether that was all. If not, the watcher tells when there is
    /// room again.
    fn send_backlog(&mut self, link: &dyn Link) -> io::Result<bool> {
        while !self.backlog.is_empty() {
            let (first, second) = self.backlog.as_slices();
            match link.try_write(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(count) => {
                    self.bytes_out += count as u64;
                    self.backlog.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.gathered = 0;
        if self.backlog.capacity() > KEPT_BACKLOG {
            self.backlog = VecDeque::new();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::output::Context;
    use crate::client::ClientId;
    use crate::limits::Limits;
    use crate::link::memory::{MemoryLink, Pipe};
    use crate::remote::Remote;
    use crate::threads::Threads;

    /// Posts `count` bytes, flushes them as a peer reads, and says how much memory is kept.
    fn kept_after(count: usize) -> usize {
        let outward = Pipe::new(1000);
        let link = MemoryLink { inward: Pipe::new(1), outward: Arc::clone(&outward), flush: Arc::default() };
        let context = Context { limits: Arc::new(Limits::default()), threads: Threads::new() };
        let shared =
            Arc::new(Shared::new(ClientId::next(), Remote::Memory, Arc::new(link), Arc::new(context)));
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
    fn a_backlog_that_has_drained_gives_a_large_buffer_back_and_keeps_a_small_one() {
        assert_eq!(kept_after(100_000), 0);
        assert!((2000..=KEPT_BACKLOG).contains(&kept_after(3000)));
    }
}
