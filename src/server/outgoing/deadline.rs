//! [`Deadline`]: the time limit of one attempt to connect.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::limits::YEAR;

/// When an attempt to connect has to be finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    limit: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Deadline {
        Deadline { at: Instant::now() + limit.min(YEAR), limit }
    }

    /// Returns the error of an attempt that is not finished. The text `what` names the missing step.
    pub(super) fn passed(self, what: impl fmt::Display) -> io::Error {
        let message = format!("{what} within {:?} (connect_timeout)", self.limit);
        io::Error::new(io::ErrorKind::TimedOut, message)
    }
}
