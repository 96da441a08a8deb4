//! The time limits of the linger: how long a closing connection waits for a peer that reads slowly.

use std::io;
use std::time::{Duration, Instant};

use crate::transport::{Received, Transport};

/// How long a closing connection waits for a peer that neither reads nor sends.
pub(super) const LINGER_QUIET: Duration = Duration::from_secs(1);
/// How long a closing connection waits in total. A stop is bounded by the drain timeout instead.
pub(super) const LINGER_TOTAL: Duration = Duration::from_secs(5);

/// How many reads drop input at most before other clients have their turn.
const DRAIN_READS: usize = 16;

/// The time limits of the linger, for a writer that waits while the connection is closing.
pub(super) struct LingerLimit {
    /// When this writer has noticed the closing.
    began: Option<Instant>,
    /// When the peer has taken something for the last time, but not before `began`.
    progress: Instant,
    /// The system ends the connection if the peer takes nothing more.
    watched: bool,
}

impl LingerLimit {
    pub(super) fn new() -> LingerLimit {
        LingerLimit { began: None, progress: Instant::now(), watched: false }
    }

    /// Returns until when the writer may wait for room.
    pub(super) fn next(&mut self, now: Instant, sent: bool, by_stop: bool) -> Instant {
        if sent || self.began.is_none() {
            self.progress = now;
        }
        let began = *self.began.get_or_insert(now);
        let quiet = if self.watched { now + LINGER_TOTAL } else { self.progress + LINGER_QUIET };
        // After a stop, the machine aborts the connection at the drain timeout.
        if by_stop {
            quiet
        } else {
            quiet.min(began + LINGER_TOTAL)
        }
    }

    /// Called when a limit has passed. Returns `true` if the writer may wait for longer.
    ///
    /// A large send buffer hides the progress of a slow peer. Therefore the system is asked to watch the peer.
    pub(super) fn extend(&mut self, transport: &dyn Transport) -> bool {
        let watched = !self.watched && transport.limit_quiet(LINGER_QUIET);
        self.watched |= watched;
        watched
    }
}

/// A connection that has sent its end of output, and drops what the peer still sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(super) quiet: Duration,
    pub(super) deadline: Instant,
    /// When the peer has sent something for the last time.
    pub(super) heard: Instant,
}

impl Drain {
    /// Drops what has arrived. Returns when to call this again if nothing arrives until then, or `None` if the peer has
    /// ended its output or its time is over. Never blocks.
    pub(super) fn go_on(&mut self, transport: &dyn Transport) -> Option<Instant> {
        for _ in 0..DRAIN_READS {
            match transport.read(&mut [0; 4096], Some(Duration::ZERO)) {
                Ok(Received::Bytes(_)) => self.heard = Instant::now(),
                Ok(Received::TimedOut | Received::Interrupted) => break,
                Ok(Received::EndOfInput) | Err(_) => return None,
            }
        }
        let until = self.deadline.min(self.heard + self.quiet);
        (Instant::now() < until).then_some(until)
    }
}

/// Why output could not be sent.
pub(super) enum SendError {
    /// The deadline or a limit of the linger has passed.
    TimedOut,
    /// The connection was lost.
    Lost(io::Error),
}

/// Why the last output of a connection was not delivered.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// The peer did not take it in time.
    TooSlow,
    /// The connection was lost.
    Lost(io::Error),
}

impl From<SendError> for Undelivered {
    fn from(error: SendError) -> Undelivered {
        match error {
            SendError::TimedOut => Undelivered::TooSlow,
            // The system ends a connection whose peer takes nothing (`Transport::limit_quiet`).
            SendError::Lost(error) if error.kind() == io::ErrorKind::TimedOut => Undelivered::TooSlow,
            SendError::Lost(error) => Undelivered::Lost(error),
        }
    }
}
