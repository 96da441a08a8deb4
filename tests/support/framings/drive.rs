//! Feeds a framing as `Framed` and `Input::frame` do.

use backport::framing::{FrameError, Framing};
use backport::Result;

use super::wire::Wire;
use super::Outcome;

/// The end of the first piece behind `end`; at the end of the stream that is where it stays.
fn next_cut(cuts: &mut impl Iterator<Item = usize>, end: usize, stream: &[u8]) -> usize {
    end.saturating_add(cuts.next().unwrap_or(1).max(1)).min(stream.len())
}

/// What begins a frame is kept, and comes again with the next piece; what ends the stream is asked
/// about once.
pub(crate) fn as_framed(wire: &Wire, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut framing = wire.framing();
    let mut frames = Vec::new();
    let mut run = || -> Result {
        let mut cuts = cuts.iter().copied().cycle();
        let (mut partial, mut end) = (Vec::new(), 0);
        while end < stream.len() {
            let start = end;
            end = next_cut(&mut cuts, end, stream);
            partial.extend_from_slice(&stream[start..end]);
            let mut used = 0;
            while used < partial.len() {
                let Some(frame) = framing.decode(&partial[used..])? else { break };
                frames.push(partial[used..][frame.payload].to_vec());
                assert!(frame.used > 0, "a frame of no bytes");
                used += frame.used;
            }
            partial.drain(..used);
        }
        if let Some(frame) = framing.decode_end(&partial)? {
            frames.push(partial[frame.payload].to_vec());
            assert_eq!(frame.used, partial.len(), "all is used at the end");
        }
        Ok(())
    };
    let result = run();
    (frames, result.err().map(plain))
}

/// A frame at a time; what has not grown is asked about again at the end.
pub(crate) fn as_input(wire: &Wire, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut framing = wire.framing();
    let mut frames = Vec::new();
    let mut run = || -> Result {
        let mut cuts = cuts.iter().copied().cycle();
        let (mut start, mut end, mut at_end) = (0, 0, false);
        loop {
            let unread = &stream[start..end];
            let found = if unread.is_empty() { None } else { framing.decode(unread)? };
            let frame = match found {
                Some(frame) => frame,
                None if at_end => match framing.decode_end(unread)? {
                    Some(frame) => frame,
                    None => return Ok(()),
                },
                None => {
                    at_end = end == stream.len();
                    end = next_cut(&mut cuts, end, stream);
                    continue;
                }
            };
            frames.push(unread[frame.payload].to_vec());
            assert!(frame.used > 0, "a frame of no bytes");
            start += frame.used;
        }
    };
    let result = run();
    (frames, result.err().map(plain))
}

/// The payload in its frame, as one record; `None` if it is refused.
pub(crate) fn encode(wire: &Wire, payload: &[u8]) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    let mut send = |parts: &[&[u8]]| {
        records.push(parts.concat());
        Ok(())
    };
    match wire.framing().encode(payload, &mut send) {
        Ok(()) => {
            assert_eq!(records.len(), 1, "a frame is one record");
            records.pop()
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(records.is_empty(), "what is refused is not sent");
            None
        }
    }
}

/// What kind of error it is, without its words.
pub(crate) fn plain(error: backport::BoxError) -> FrameError {
    match error.downcast_ref() {
        Some(FrameError::Malformed(_)) => FrameError::Malformed(String::new()),
        Some(other) => other.clone(),
        None => panic!("not an error of a framing: {error}"),
    }
}
