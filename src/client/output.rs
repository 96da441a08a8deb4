//! A client's state behind one lock, and the write path through it.
//!
//! The lock is never held over a call that can block. A write first tries to send without waiting,
//! under the lock: that is the whole path of nearly every write, one lock and one system call. What
//! doesn't fit makes the writer take the *turn* (`busy`), let go of the lock, and wait for room;
//! others queue up behind it, posts go to the [`backlog`](super::backlog). So `post` and `close`
//! never wait for a blocked writer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use crate::client::ending::{LINGER_QUIET, LINGER_TOTAL};
use crate::client::ClientId;
use crate::closing::Closing;
use crate::error::duplicate;
use crate::limits::Limits;
use crate::link::{Link, Waited};
use crate::remote::Remote;
use crate::stats::ClientStats;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::threads::Threads;

/// Gathered output over this goes out before the cork is let go.
pub(super) const CORK_LIMIT: usize = 64 * 1024;

/// What all clients of a server share.
pub(crate) struct Context {
    pub(crate) limits: Arc<Limits>,
    pub(crate) threads: Arc<Threads>,
}

/// What the handles of one client share.
pub(crate) struct Shared {
    pub(crate) id: ClientId,
    pub(crate) remote: Remote,
    pub(crate) connected: Instant,
    pub(crate) context: Arc<Context>,
    /// Written by the reading thread alone, read by whoever asks for figures: `Relaxed`.
    pub(crate) bytes_in: AtomicU64,
    /// `State::ended`, to be read without the lock: the worker asks before each callback. Set under
    /// the lock, with `Release`, so that who sees it sees the reason too.
    pub(crate) ended: AtomicBool,
    pub(crate) state: Mutex<State>,
    /// Signalled when the turn or the connection ends, awaited by writers that queue for it.
    pub(crate) turn: Condvar,
}

/// Written and read by any thread that holds a handle, under the lock.
pub(crate) struct State {
    /// Gone at the end, so that a handle that is kept pins no descriptor.
    pub(crate) link: Option<Arc<dyn Link>>,
    /// Set by the first that ends the connection.
    pub(crate) ended: bool,
    /// Why, until the worker takes it.
    pub(crate) reason: Option<Closing>,
    /// The worker, while it runs `closing`: the one thread that may still write.
    pub(crate) last_words: Option<ThreadId>,
    /// Pending output is not worth delivering any more.
    pub(crate) aborted: bool,
    /// The peer has ended its side, as the worker saw.
    pub(crate) end_of_input: bool,
    /// A thread holds the turn: it sends outside of the lock.
    pub(crate) busy: bool,
    /// Output that was accepted and not yet taken by the kernel, in order.
    pub(crate) backlog: VecDeque<u8>,
    /// What whoever holds the turn has taken out of the backlog and not sent yet.
    pub(super) in_flight: usize,
    /// How much of both was gathered under a cork, by writers, who wait for room: it doesn't count
    /// against the limit of what is posted.
    pub(super) gathered: usize,
    /// The link was asked to flush the backlog.
    pub(super) armed: bool,
    pub(super) corks: usize,
    pub(crate) last_write: Option<Instant>,
    pub(crate) bytes_out: u64,
}

pub(super) type Guard<'a> = MutexGuard<'a, State>;

impl Shared {
    pub(crate) fn new(id: ClientId, remote: Remote, link: Arc<dyn Link>, context: Arc<Context>) -> Shared {
        let state = State {
            link: Some(link),
            ended: false,
            reason: None,
            last_words: None,
            aborted: false,
            end_of_input: false,
            busy: false,
            backlog: VecDeque::new(),
            in_flight: 0,
            gathered: 0,
            armed: false,
            corks: 0,
            last_write: None,
            bytes_out: 0,
        };
        Shared {
            id,
            remote,
            connected: Instant::now(),
            context,
            bytes_in: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            state: Mutex::new(state),
            turn: Condvar::new(),
        }
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let state = self.state.lock();
        ClientStats {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: state.bytes_out,
            connected_since: self.connected,
            backlog: state.unsent(),
        }
    }

    /// Writes all the parts as one record.
    pub(crate) fn write(self: &Arc<Self>, parts: &[&[u8]]) -> io::Result<()> {
        const FEW: usize = 8;
        if parts.len() <= FEW {
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

    fn write_slices(self: &Arc<Self>, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.state.lock();
        let link = admit(&state)?;
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total == 0 {
            return Ok(());
        }
        if state.corks > 0 {
            for slice in &*slices {
                state.backlog.extend(&**slice);
            }
            state.gathered += total;
            state.last_write = Some(Instant::now());
            return if state.backlog.len() < CORK_LIMIT { Ok(()) } else { self.send(state, &mut []) };
        }
        if !state.busy && state.backlog.is_empty() {
            match link.try_write(slices) {
                Ok(count) => {
                    state.last_write = Some(Instant::now());
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

    pub(crate) fn cork(&self) {
        self.state.lock().corks += 1;
    }

    pub(crate) fn uncork(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.corks -= 1;
        // What is left at the end of the connection, the worker's last call sends.
        if state.corks > 0 || state.backlog.is_empty() || state.ended {
            return Ok(());
        }
        drop(state);
        self.write_gathered()
    }

    /// Sends the backlog, if there is one, also if another thread is about to.
    pub(crate) fn flush_now(self: &Arc<Self>) -> io::Result<()> {
        if self.state.lock().unsent() == 0 {
            return Ok(());
        }
        self.write_gathered()
    }

    pub(crate) fn write_gathered(self: &Arc<Self>) -> io::Result<()> {
        let state = self.state.lock();
        admit(&state)?;
        if state.unsent() == 0 {
            return Ok(());
        }
        self.send(state, &mut [])
    }

    /// Waits for the turn, then sends the backlog and `slices`, blocking for at most the write
    /// timeout in all.
    pub(super) fn send(self: &Arc<Self>, mut state: Guard<'_>, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let deadline = Instant::now() + self.context.limits.write_timeout();
        // Whoever has sent half a record holds the lock and finds no other's turn.
        while state.busy {
            if self.turn.wait_until(&mut state, deadline).timed_out() && state.busy {
                drop(state);
                return Err(self.give_up());
            }
            admit(&state)?;
        }
        let (mut state, result) = self.transfer(state, slices, deadline);
        match result {
            Ok(()) => {
                state.last_write = Some(Instant::now());
                if !state.backlog.is_empty() && state.corks == 0 {
                    self.flush_later(state);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                drop(state);
                Err(self.give_up())
            }
            Err(error) => Err(self.lose(state, error)),
        }
    }

    /// Takes the turn, sends the backlog and `slices` outside of the lock, gives the turn back.
    ///
    /// `TimedOut` at the deadline; once the connection is ending, also when the linger's bounds
    /// pass.
    pub(crate) fn transfer<'a>(
        &'a self,
        mut state: Guard<'a>,
        slices: &mut [IoSlice<'_>],
        deadline: Instant,
    ) -> (Guard<'a>, io::Result<()>) {
        let Some(link) = state.link.clone() else {
            return (state, Err(io::ErrorKind::BrokenPipe.into()));
        };
        state.busy = true;
        let mut backlog = std::mem::take(&mut state.backlog);
        state.in_flight = backlog.len();
        let gathered = state.gathered;
        drop(state);
        let mut result = self.send_all(&*link, &mut [IoSlice::new(backlog.make_contiguous())], deadline);
        if result.is_ok() {
            result = self.send_all(&*link, slices, deadline);
        }
        drop(backlog);
        let mut state = self.state.lock();
        state.busy = false;
        state.in_flight = 0;
        state.gathered = state.gathered.saturating_sub(gathered);
        // All of them: one may be the worker, which waits to say goodbye.
        self.turn.notify_all();
        (state, result)
    }

    fn send_all(&self, link: &dyn Link, mut slices: &mut [IoSlice<'_>], deadline: Instant) -> io::Result<()> {
        let mut progress = Instant::now();
        let mut ending = None;
        loop {
            // advance_slices steps over what is empty.
            IoSlice::advance_slices(&mut slices, 0);
            if slices.is_empty() {
                return Ok(());
            }
            let moved = match link.write(slices) {
                Ok(count) => {
                    self.state.lock().note_sent(count);
                    IoSlice::advance_slices(&mut slices, count);
                    count > 0
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => return Err(error),
            };
            if slices.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if moved {
                progress = now;
            }
            let mut limit = deadline;
            if self.is_ended() {
                let ending = *ending.get_or_insert(now);
                limit = limit.min(progress + LINGER_QUIET).min(ending + LINGER_TOTAL);
            }
            if now >= limit || (!moved && link.wait_writable(limit) == Waited::TimedOut) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Ends the connection of a peer that did not read in time.
    fn give_up(&self) -> io::Error {
        let ending = self.is_ended();
        self.end(Closing::TooSlow, true);
        if ending {
            // The linger's bounds have cut the write short.
            return io::ErrorKind::BrokenPipe.into();
        }
        let limit = self.context.limits.write_timeout();
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the peer did not read within {limit:?} (write_timeout)"),
        )
    }

    /// Ends the connection after an I/O error, of which the caller and `closing` get one each.
    pub(super) fn lose(&self, state: Guard<'_>, error: io::Error) -> io::Error {
        drop(state);
        self.end(Closing::Lost(duplicate(&error)), false);
        error
    }
}

impl State {
    /// What was accepted and the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        self.backlog.len() + self.in_flight
    }

    /// So much of that was posted.
    pub(super) fn posted(&self) -> usize {
        self.unsent().saturating_sub(self.gathered)
    }

    /// Whoever holds the turn has sent so much: of what was taken out of the backlog, then of its own.
    fn note_sent(&mut self, count: usize) {
        self.in_flight = self.in_flight.saturating_sub(count);
        self.bytes_out += count as u64;
    }
}

/// The link, if this thread may write.
pub(super) fn admit<'a>(state: &'a Guard<'_>) -> io::Result<&'a Arc<dyn Link>> {
    match &state.link {
        Some(link) if !state.aborted => {
            if !state.ended || state.last_words == Some(thread::current().id()) {
                return Ok(link);
            }
            Err(io::ErrorKind::BrokenPipe.into())
        }
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
