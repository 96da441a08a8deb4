//! An adapter that gets frames.

use std::fmt;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::client::Client;
use crate::closing::Closing;
use crate::error::Result;
use crate::frame::{FrameError, Framing};
use crate::input::Input;

/// An adapter whose `receiving` gets one frame a call. From
/// [`Adapter::framed`](crate::Adapter::framed).
///
/// An error of the framing ends the connection as an error of the adapter's would
/// ([`Closing::Failed`]); `closing` can tell it by `error.downcast_ref::<FrameError>()`, and may
/// still answer. Memory is bounded by the framing's limit.
pub struct Framed<A, F> {
    adapter: A,
    framing: F,
    /// The beginning of a frame that is not there whole.
    partial: Vec<u8>,
    gather: bool,
    within: Option<Duration>,
    /// A frame of the chunk at hand was handed over.
    delivered: bool,
}

/// A frame in parts may keep that much memory when it is done.
const KEPT: usize = 4 * 1024;

impl<A: Adapter, F: Framing> Framed<A, F> {
    pub(crate) fn new(adapter: A, framing: F) -> Framed<A, F> {
        Framed { adapter, framing, partial: Vec::new(), gather: false, within: None, delivered: false }
    }

    /// Gathers what is written while the frames of one chunk are handed over, and sends it in one
    /// piece after the last of them ([`Client::cork`]). Where clients send many requests at once
    /// this saves most of the CPU time; a client that waits for each reply gets it as soon as ever.
    ///
    /// Not by default: a frame that takes long holds back the replies to those before it. Turn it on
    /// where frames are answered quickly.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use backport::framing::Lines;
    /// use backport::{receiving, testing, Adapter};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let echo = receiving(|client, line| Ok(client.write_line(line)?));
    /// let mut client = testing::connect(echo.framed(Lines::default()).gathering());
    /// client.write_all(b"one\ntwo\nthree\n")?;
    /// let mut reply = [0; 100];
    /// let count = client.read(&mut reply)?; // one read gets what was one write
    /// assert_eq!(&reply[..count], b"one\ntwo\nthree\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn gathering(self) -> Framed<A, F> {
        Framed { gather: true, ..self }
    }

    /// Ends a client whose frame is not whole within `limit` of its first byte
    /// ([`FrameError::TooSlow`]), however it drips. Default: none.
    #[must_use]
    pub fn within(self, limit: Duration) -> Framed<A, F> {
        Framed { within: Some(limit), ..self }
    }

    /// Hands over the frames at the start of `data`, and says how many bytes they took.
    fn deliver(&mut self, client: &Client, data: &[u8]) -> Result<usize> {
        let _corked = self.gather.then(|| client.cork());
        let mut used = 0;
        while used < data.len() {
            let rest = &data[used..];
            let Some(frame) = self.framing.decode(rest)? else { break };
            let frame = frame.check(rest.len())?;
            // What follows a close is not for the adapter any more.
            if client.is_closed() {
                return Ok(data.len());
            }
            self.delivered = true;
            self.adapter.receiving(client, &rest[frame.payload])?;
            used += frame.used;
        }
        Ok(used)
    }
}

impl<A: Adapter, F: Framing> Adapter for Framed<A, F> {
    fn opening(&mut self, client: &Client) -> Result {
        self.adapter.opening(client)
    }

    fn receiving(&mut self, client: &Client, data: &[u8]) -> Result {
        self.delivered = false;
        if self.partial.is_empty() {
            let used = self.deliver(client, data)?;
            self.partial.extend_from_slice(&data[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(data);
        let used = self.deliver(client, &partial)?;
        partial.drain(..used);
        self.partial = without_excess(partial);
        Ok(())
    }

    fn closing(&mut self, client: &Client, reason: &Closing) {
        self.adapter.closing(client, reason);
    }

    fn serving(&mut self, client: &Client, input: &mut Input) -> Result {
        let mut deadline = None;
        loop {
            let chunk = match input.chunk() {
                Ok(chunk) => chunk,
                Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(FrameError::TooSlow.into());
                }
                Err(error) => return Err(error.into()),
            };
            let Some(data) = chunk else { break };
            self.receiving(client, data)?;
            if let Some(limit) = self.within {
                if self.partial.is_empty() {
                    deadline = None;
                } else if self.delivered || deadline.is_none() {
                    deadline = Instant::now().checked_add(limit);
                }
                input.set_deadline(deadline);
            }
        }
        if input.is_at_end() && !client.is_closed() {
            let partial = std::mem::take(&mut self.partial);
            if let Some(frame) = self.framing.decode_end(&partial)? {
                let frame = frame.check(partial.len())?;
                if !client.is_closed() {
                    self.adapter.receiving(client, &partial[frame.payload])?;
                }
            }
        }
        Ok(())
    }
}

/// Gives back what a long frame has taken, once it is done.
fn without_excess(partial: Vec<u8>) -> Vec<u8> {
    if partial.is_empty() && partial.capacity() > KEPT {
        Vec::new()
    } else {
        partial
    }
}

impl<A, F: fmt::Debug> fmt::Debug for Framed<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_frame_that_is_done_keeps_no_memory() {
        let with_room = |room, content: &[u8]| {
            let mut partial = Vec::with_capacity(room);
            partial.extend_from_slice(content);
            without_excess(partial)
        };
        assert_eq!(with_room(100 * KEPT, b"").capacity(), 0);
        assert!(with_room(KEPT, b"").capacity() >= KEPT, "short frames in parts allocate once");
        assert_eq!(with_room(100 * KEPT, b"partial"), b"partial");
    }
}
