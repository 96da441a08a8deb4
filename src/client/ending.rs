//! How a connection ends: anyone may end it, the first says why, and the worker says the last word.
//!
//! In order: `end` (a call, a stop, a failure) or the conversation's own end; `conclude`, from which
//! on only the worker may write; the adapter's `closing`; `finish`, which delivers what was written
//! and lets go of the link.

use std::io;
use std::time::{Duration, Instant};

use crate::client::output::{Shared, State};
use crate::closing::Closing;
use crate::error::{is_peer_gone, BoxError};
use crate::report::report;
use crate::sync::atomic::Ordering;
use crate::sync::thread;

/// How long the end of a connection waits for a peer that neither reads nor sends.
pub(crate) const LINGER_QUIET: Duration = Duration::from_secs(1);
/// How long it waits in all.
pub(crate) const LINGER_TOTAL: Duration = Duration::from_secs(5);
/// One segment, of the size that every host takes (RFC 9293, 3.7.1): no window is smaller to begin
/// with.
const ONE_SEGMENT: u64 = 536;

impl Shared {
    /// Whether the connection has ended, or was told to.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the connection; the first reason stays. Never blocks.
    pub(crate) fn end(&self, reason: Closing, abort: bool) {
        let (link, notice, unsure) = {
            let mut state = self.state.lock();
            if !state.ended {
                state.ended = true;
                state.reason = Some(reason);
                self.ended.store(true, Ordering::Release);
            } else if !abort || state.aborted {
                return;
            }
            if abort {
                state.aborted = true;
                state.backlog.clear();
                state.gathered = 0;
            }
            (state.link.clone(), !state.is_settled(), state.is_unsure())
        };
        self.turn.notify_all();
        if let Some(link) = link {
            if abort {
                link.abort();
            } else {
                link.kick(notice || unsure && !link.is_taken());
            }
        }
    }

    /// The worker's call when the conversation is over: why it ended, from what its callbacks
    /// returned (`Err` of a panic), whether the end of input was seen, and who ended it before.
    ///
    /// From here on only the calling thread may write.
    pub(crate) fn conclude(
        &self,
        outcome: Result<Result<(), BoxError>, String>,
        end_of_input: bool,
    ) -> Closing {
        let (early, link) = {
            let mut state = self.state.lock();
            state.ended = true;
            self.ended.store(true, Ordering::Release);
            state.last_words = Some(thread::current().id());
            state.end_of_input = end_of_input;
            (state.reason.take(), state.link.clone())
        };
        // Writers that wait for room learn that their time is cut short.
        self.turn.notify_all();
        if let Some(link) = link {
            link.kick(false);
        }
        match outcome {
            Err(message) => Closing::Panicked(message),
            Ok(Err(error)) => classify(error, early),
            Ok(Ok(())) => early.unwrap_or(if end_of_input { Closing::ByPeer } else { Closing::ByServer }),
        }
    }

    /// The worker's last call: delivers what was written, within the linger's bounds, then lets go
    /// of the link.
    pub(crate) fn finish(&self) {
        let limit = Instant::now() + LINGER_TOTAL;
        let mut state = self.state.lock();
        state.last_words = None;
        // A writer in another thread: its own time is bounded the same way.
        while state.busy && !state.aborted {
            if self.turn.wait_until(&mut state, limit).timed_out() {
                break;
            }
        }
        let Some(link) = state.link.clone() else { return };
        if !state.aborted && !state.busy && !state.backlog.is_empty() {
            let (guard, result) = self.transfer(state, &mut [], limit);
            state = guard;
            if let Err(error) = result {
                state.aborted = true;
                drop(state);
                // A logger may want the client.
                report!(Debug, "client {}: its last output is lost: {error}", self.id);
                link.abort();
                state = self.state.lock();
            }
        }
        let aborted = state.aborted || state.busy;
        let end_of_input = state.end_of_input;
        let (unsure, recent) = (state.is_unsure(), state.has_written_lately());
        drop(state);
        if aborted {
            link.abort();
        } else if !end_of_input {
            // A peer that has ended its side sends nothing that close(2) would have to answer with
            // RST: there closing is enough.
            let slow = unsure && link.settle(limit);
            let quiet = if recent || slow { LINGER_QUIET } else { Duration::ZERO };
            if !quiet.is_zero() {
                link.shut_write();
            }
            link.drain(quiet, limit.saturating_duration_since(Instant::now()));
        }
        let mut state = self.state.lock();
        state.link = None;
        state.backlog = Default::default();
    }
}

impl State {
    /// Whether nothing has been under way for a while, from this side.
    fn is_settled(&self) -> bool {
        !self.busy && self.backlog.is_empty() && !self.has_written_lately()
    }

    /// What any window takes, the peer's kernel has taken. Of more only the link can tell: the peer
    /// may be reading still, and RST would destroy what is under way.
    fn is_unsure(&self) -> bool {
        self.bytes_out > ONE_SEGMENT
    }

    /// What was written longer ago has been taken, unless the peer turns out slow.
    fn has_written_lately(&self) -> bool {
        self.last_write.is_some_and(|written| written.elapsed() < LINGER_QUIET)
    }
}

/// The reason behind an error that a callback returned.
fn classify(error: BoxError, early: Option<Closing>) -> Closing {
    let Some(kind) = io_kind(&*error) else { return Closing::Failed(error) };
    match early {
        // The adapter passes on what ended the connection, or learnt of its end by trying to use it.
        Some(early) if is_peer_gone(kind) || kind == io::ErrorKind::WouldBlock => early,
        Some(Closing::Lost(lost)) if lost.kind() == kind => Closing::Lost(lost),
        // A time-out that isn't the connection's own comes from elsewhere: a database, a lock.
        _ if is_peer_gone(kind) && kind != io::ErrorKind::TimedOut => {
            Closing::Lost(match error.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(error) => io::Error::new(kind, error),
            })
        }
        _ => Closing::Failed(error),
    }
}

/// The kind of the first I/O error in the chain of causes.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::output::Context;
    use crate::client::ClientId;
    use crate::limits::Limits;
    use crate::link::memory::{MemoryLink, Pipe};
    use crate::remote::Remote;
    use crate::threads::Threads;

    #[test]
    fn what_may_be_under_way_still_is_told_by_how_much_was_written_and_how_lately() {
        let link = MemoryLink { inward: Pipe::new(1), outward: Pipe::new(1), flush: Arc::default() };
        let context = Context { limits: Arc::new(Limits::default()), threads: Threads::new() };
        let shared = Shared::new(ClientId::next(), Remote::Memory, Arc::new(link), Arc::new(context));
        let mut state = shared.state.lock();
        assert!(state.is_settled());
        // What every window takes, and a byte more.
        state.bytes_out = 536;
        assert!(!state.is_unsure());
        state.bytes_out += 1;
        assert!(state.is_unsure());
        state.last_write = Some(Instant::now());
        assert!(!state.is_settled() && state.has_written_lately());
        state.last_write = Instant::now().checked_sub(LINGER_QUIET);
        assert!(state.is_settled() && !state.has_written_lately());
        state.busy = true;
        assert!(!state.is_settled());
        state.busy = false;
        state.backlog.push_back(0);
        assert!(!state.is_settled());
    }

    #[test]
    fn an_error_is_what_ended_the_connection_only_if_it_is_of_that_kind() {
        use io::ErrorKind::{InvalidData, NotFound, WouldBlock};

        let classify = |kind, early| classify(io::Error::from(kind).into(), early);
        let lost = || Some(Closing::Lost(InvalidData.into()));
        assert!(matches!(classify(InvalidData, lost()), Closing::Lost(_)));
        assert!(matches!(classify(NotFound, lost()), Closing::Failed(_)));
        assert!(matches!(classify(WouldBlock, Some(Closing::Idle)), Closing::Idle));
        assert!(matches!(classify(WouldBlock, None), Closing::Failed(_)));
    }

    fn reset() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    #[test]
    fn an_error_of_the_adapters_own_is_a_failure_whatever_came_before() {
        assert!(matches!(classify("bad".into(), None), Closing::Failed(_)));
        assert!(matches!(classify("bad".into(), Some(Closing::ByServer)), Closing::Failed(_)));
        let not_found = io::Error::from(io::ErrorKind::NotFound);
        assert!(matches!(classify(not_found.into(), Some(Closing::Stopping)), Closing::Failed(_)));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert!(matches!(classify(timed_out.into(), None), Closing::Failed(_)));
    }

    #[test]
    fn an_error_that_says_that_the_peer_is_gone_is_a_loss_or_what_ended_it() {
        assert!(matches!(classify(reset().into(), None), Closing::Lost(_)));
        assert!(matches!(classify(reset().into(), Some(Closing::ByServer)), Closing::ByServer));
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        assert!(matches!(classify(timed_out.into(), Some(Closing::TooSlow)), Closing::TooSlow));
    }

    #[test]
    fn an_io_error_is_found_behind_an_error_that_wraps_it() {
        #[derive(Debug)]
        struct Wrapped(io::Error);
        impl std::fmt::Display for Wrapped {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("wrapped")
            }
        }
        impl std::error::Error for Wrapped {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let Closing::Lost(error) = classify(Wrapped(reset()).into(), None) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(error.to_string().contains("wrapped"));
    }
}
