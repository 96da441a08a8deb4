//! [`Inlet`]: the ciphertext that has arrived and is not decrypted yet.
//!
//! An idle client needs no buffer here, because a small read goes to the stack. If a read fills that, the
//! inlet allocates a buffer for many records. It frees the buffer when nothing has arrived for a moment.

use std::io;
use std::time::{Duration, Instant};

use crate::reactor::WAIT_SLICE;
use crate::sync::Mutex;
use crate::transport::tls::engine::{Decrypted, Engine};
use crate::transport::{Received, Transport};

/// The size of a read to the stack: a small message, or a part of a handshake.
pub(super) const SIP: usize = 1280;
/// The size of a read while much arrives: four records of the largest size, and a little more.
const GULP: usize = 66 * 1024;

/// The ciphertext that has arrived and is not decrypted yet.
#[derive(Default)]
pub(super) struct Inlet {
    /// It has [`GULP`] bytes while much arrives.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The engine has no decrypted bytes left.
    drained: bool,
}

impl Inlet {
    /// Reads decrypted bytes, as [`Transport::read`] does.
    ///
    /// # Errors
    /// `UnexpectedEof` if the input ends without the end of output of TLS (close_notify).
    pub(super) fn read(
        &mut self,
        lower: &dyn Transport,
        engine: &Mutex<Engine>,
        buffer: &mut [u8],
        limit: Option<Duration>,
    ) -> io::Result<Received> {
        // A peer that sends parts of a record must not begin the limit again.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            if !self.drained || self.start < self.end {
                let mut data = &self.bytes[self.start..self.end];
                let Decrypted { read, drained } = engine.lock().decrypt(&mut data, buffer, lower)?;
                self.start = self.end - data.len();
                self.drained = drained;
                if let Some(count) = read {
                    return Ok(received(count));
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && limit != Some(Duration::ZERO) {
                return Ok(Received::TimedOut);
            }
            let (mut sip, is_large) = ([0; SIP], self.bytes.len() == GULP);
            let (place, left) = if is_large {
                // If this becomes a long wait, the buffer is freed.
                (&mut self.bytes[..], Some(left.map_or(WAIT_SLICE, |left| left.min(WAIT_SLICE))))
            } else {
                (&mut sip[..], left)
            };
            let count = match lower.read(place, left)? {
                Received::Bytes(count) => count,
                Received::EndOfInput => {
                    let message = "the connection ended without the end of TLS (close_notify)";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Received::TimedOut => {
                    if is_large {
                        *self = Inlet { drained: true, ..Inlet::default() };
                        engine.lock().free_input();
                    }
                    if is_large && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                        continue;
                    }
                    return Ok(Received::TimedOut);
                }
                Received::Interrupted => return Ok(Received::Interrupted),
            };
            if is_large {
                (self.start, self.end) = (0, count);
                continue;
            }
            let mut data = &sip[..count];
            let Decrypted { read, drained } = engine.lock().decrypt(&mut data, buffer, lower)?;
            self.drained = drained;
            self.keep(data, count == SIP);
            if let Some(read) = read {
                return Ok(received(read));
            }
        }
    }

    /// Keeps the rest of a small read. `more` is `true` if more has arrived.
    fn keep(&mut self, rest: &[u8], more: bool) {
        if more {
            self.bytes.resize(GULP, 0);
            self.bytes[..rest.len()].copy_from_slice(rest);
        } else {
            self.bytes = rest.to_vec();
        }
        (self.start, self.end) = (0, rest.len());
    }
}

fn received(count: usize) -> Received {
    if count == 0 {
        Received::EndOfInput
    } else {
        Received::Bytes(count)
    }
}
