//! How a connection ends.
//!
//! 1. [`end`](ClientShared::end) asks the connection to end, because of a call of the user, a stop or a
//!    failure. The first reason counts. A conversation can also end without such a request.
//! 2. [`begin_closing`](ClientShared::begin_closing) determines the reason. From then on, only the session
//!    may write.
//! 3. The session calls the adapter's `closing`.
//! 4. [`finish_closing`](ClientShared::finish_closing) delivers the output and drops the transport.

use std::io;
use std::time::Instant;

use crate::client::state::{ClientShared, Output, LINGER_PATIENT, LINGER_QUIET, LINGER_TOTAL};
use crate::client::Client;
use crate::closing::Closing;
use crate::error::{is_peer_gone, BoxError};
use crate::logging::debug;
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::transport::{Grace, Linger};

impl Client {
    /// Closes the connection gracefully. Returns at once. A second call does nothing.
    ///
    /// It may be called from any thread and any callback. Output that was written before is delivered to a
    /// peer that keeps reading.
    ///
    /// After `close` has returned, no further [`receiving`](crate::Adapter::receiving) starts, but a call
    /// that is already running finishes. Then [`closing`](crate::Adapter::closing) is called, which may still
    /// write.
    pub fn close(&self) {
        self.shared.end(Closing::ByServer, false);
    }

    /// Ends the connection at once and drops pending output. Returns at once.
    ///
    /// It may be called from any thread and any callback. The peer sees a reset, or a normal end if its
    /// kernel already has all output. `closing` is still called but cannot write.
    pub fn abort(&self) {
        self.shared.end(Closing::ByServer, true);
    }

    /// Returns `true` if the connection has ended or was asked to end. From then on, writes are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_output_ended()
    }

    /// Asks the connection to end gracefully for `reason`.
    pub(crate) fn end(&self, reason: Closing) {
        self.shared.end(reason, false);
    }

    /// Asks the connection to end for `reason` and drops pending output.
    pub(crate) fn end_now(&self, reason: Closing) {
        self.shared.end(reason, true);
    }
}

impl ClientShared {
    /// Asks the connection to end. The first reason counts. With `abort`, accepted output is dropped.
    /// Never blocks.
    pub(crate) fn end(&self, reason: Closing, abort: bool) {
        let (transport, grace) = {
            let mut state = self.state.lock();
            if !state.is_ending() {
                state.output = Output::Refused;
                state.reason = Some(reason);
                self.refuse_more();
            } else if !abort || state.is_aborted() {
                return;
            }
            if abort {
                state.output = Output::Aborted;
                state.drop_backlog();
            }
            let grace = match (state.is_settled(), state.may_be_untaken()) {
                (false, _) => Grace::Give,
                (true, true) => Grace::IfUntaken,
                (true, false) => Grace::Skip,
            };
            (state.transport.clone(), grace)
        };
        self.changed.notify_all();
        if let Some(transport) = transport {
            if abort {
                transport.abort();
            } else {
                transport.interrupt(grace);
            }
        }
    }

    /// Begins the closing of a connection after its conversation, and returns the reason. `outcome` is the
    /// result of the callbacks, or the message of a panic in a callback. `end_of_input` is `true` if the peer
    /// has ended its output.
    ///
    /// Afterwards only the calling thread may write. The session calls this once.
    pub(crate) fn begin_closing(
        &self,
        outcome: Result<Result<(), BoxError>, String>,
        end_of_input: bool,
    ) -> Closing {
        let (early, transport) = {
            let mut state = self.state.lock();
            if !state.is_aborted() {
                state.output = Output::ClosingOnly(thread::current().id());
            }
            self.refuse_more();
            state.end_of_input = end_of_input;
            (state.reason.take(), state.transport.clone())
        };
        // From now on, the time limits of the linger apply to a writer that waits for room.
        self.changed.notify_all();
        if let Some(transport) = transport {
            transport.interrupt(Grace::Skip);
        }
        match outcome {
            Err(message) => Closing::Panicked(message),
            Ok(Err(error)) => classify(error, early),
            Ok(Ok(())) => early.unwrap_or(if end_of_input { Closing::ByPeer } else { Closing::ByServer }),
        }
    }

    /// Delivers the output within the time limits of the linger, then drops the transport. Blocks until then.
    /// This is the session's last call.
    pub(crate) fn finish_closing(&self) {
        let total = if self.context.patient { LINGER_PATIENT } else { LINGER_TOTAL };
        let limit = Instant::now() + total;
        let mut state = self.state.lock();
        if !state.is_aborted() {
            state.output = Output::Refused;
        }
        // The same limits apply to a writer on another thread.
        while state.writer_active && !state.is_aborted() {
            if self.changed.wait_until(&mut state, limit).timed_out() {
                break;
            }
        }
        let Some(transport) = state.transport.clone() else { return };
        if !state.is_aborted() && !state.writer_active && !state.backlog.is_empty() {
            let (guard, result) = self.send_unlocked(state, &mut [], limit);
            state = guard;
            if let Err(error) = result {
                state.output = Output::Aborted;
                drop(state);
                // The lock is released first, because a logger may use the client.
                debug!("client {}: its last output is lost: {error}", self.id);
                transport.abort();
                state = self.state.lock();
            }
        }
        let aborted = state.is_aborted() || state.writer_active;
        let end_of_input = state.end_of_input;
        let linger = Linger {
            written_lately: state.was_written_lately(),
            maybe_untaken: state.may_be_untaken(),
            quiet: LINGER_QUIET,
            deadline: limit,
        };
        drop(state);
        if aborted {
            transport.abort();
        } else if !end_of_input {
            transport.linger(&linger);
        }
        // A peer that has ended its output sends nothing that close(2) would answer with RST. In that case it
        // is enough to drop the transport.
        let mut state = self.state.lock();
        state.transport = None;
        state.drop_backlog();
    }

    /// Marks both directions as ended. The caller holds the lock.
    fn refuse_more(&self) {
        self.input_ended.store(true, Ordering::Release);
        self.output_ended.store(true, Ordering::Release);
    }
}

/// Returns the reason for closing after a callback has returned an error. `early` is the reason why the
/// connection was asked to end earlier, if it was.
fn classify(error: BoxError, early: Option<Closing>) -> Closing {
    let Some(kind) = io_kind(&*error) else { return Closing::Failed(error) };
    match early {
        // The adapter has used a connection that was ending, and passes on the resulting error.
        Some(early) if is_peer_gone(kind) || kind == io::ErrorKind::WouldBlock => early,
        Some(Closing::Lost(lost)) if lost.kind() == kind => Closing::Lost(lost),
        // Any other timeout does not come from the connection. It comes, for example, from a database.
        _ if is_peer_gone(kind) && kind != io::ErrorKind::TimedOut => {
            Closing::Lost(match error.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(error) => io::Error::new(kind, error),
            })
        }
        _ => Closing::Failed(error),
    }
}

/// Returns the kind of the first I/O error in the chain of causes.
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
    use super::*;

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
