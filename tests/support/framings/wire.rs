//! The framings as data, and each decoded a second time: by hand, the whole stream at once, without
//! a thought for speed.

use backport::framing::{ContentLength, Delimited, Endian, FrameError, Framing, LengthPrefixed, Lines};

use super::Outcome;

/// The most that a header part may have, as `ContentLength` says.
const HEAD_LIMIT: usize = 8 * 1024;

/// How frames lie on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Lines { crlf: bool, limit: usize },
    Delimited { delimiter: Vec<u8>, limit: usize },
    LengthPrefixed { width: usize, endian: Endian, limit: usize },
    ContentLength { limit: usize },
}

/// The first frame of a stream, and how many bytes it takes; or why there is none.
pub(crate) type First = Result<(Vec<u8>, usize), FrameError>;

impl Wire {
    pub(crate) fn framing(&self) -> Box<dyn Framing> {
        match self.clone() {
            Wire::Lines { crlf: false, limit } => Box::new(Lines::with_limit(limit)),
            Wire::Lines { crlf: true, limit } => Box::new(Lines::with_limit(limit).crlf()),
            Wire::Delimited { delimiter, limit } => Box::new(Delimited::new(delimiter).limit(limit)),
            Wire::LengthPrefixed { width, endian, limit } => {
                Box::new(LengthPrefixed::new(width, endian).limit(limit))
            }
            Wire::ContentLength { limit } => Box::new(ContentLength::with_limit(limit)),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        match self {
            Wire::Lines { limit, .. }
            | Wire::Delimited { limit, .. }
            | Wire::LengthPrefixed { limit, .. }
            | Wire::ContentLength { limit } => *limit,
        }
    }

    pub(crate) fn decode_slowly(&self, mut stream: &[u8]) -> Outcome {
        let mut frames = Vec::new();
        while !stream.is_empty() {
            match self.first(stream) {
                Ok((frame, used)) => {
                    frames.push(frame);
                    stream = &stream[used..];
                }
                Err(error) => return (frames, Some(error)),
            }
        }
        (frames, None)
    }

    pub(crate) fn first(&self, stream: &[u8]) -> First {
        match self {
            Wire::Lines { limit, .. } => line(stream, *limit),
            Wire::Delimited { delimiter, limit } => delimited(stream, delimiter, *limit),
            Wire::LengthPrefixed { width, endian, limit } => length_prefixed(stream, *width, *endian, *limit),
            Wire::ContentLength { limit } => content_length(stream, *limit),
        }
    }

    /// Whether it can be sent so that it comes back.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() <= self.limit()
            && match self {
                Wire::Lines { .. } => !payload.contains(&b'\n') && payload.last() != Some(&b'\r'),
                Wire::Delimited { delimiter, .. } => {
                    find(&[payload, delimiter].concat(), delimiter) == Some(payload.len())
                }
                Wire::LengthPrefixed { width, .. } => (payload.len() as u128) < 1 << (8 * width),
                Wire::ContentLength { .. } => true,
            }
    }
}

fn find(stream: &[u8], what: &[u8]) -> Option<usize> {
    stream.windows(what.len()).position(|window| window == what)
}

fn line(stream: &[u8], limit: usize) -> First {
    let end = find(stream, b"\n");
    let mut line = stream[..end.unwrap_or(stream.len())].to_vec();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.len() > limit {
        return Err(FrameError::TooLong { limit });
    }
    // The last line may lack its end.
    Ok((line, end.map_or(stream.len(), |end| end + 1)))
}

fn delimited(stream: &[u8], delimiter: &[u8], limit: usize) -> First {
    match find(stream, delimiter) {
        Some(end) if end <= limit => Ok((stream[..end].to_vec(), end + delimiter.len())),
        Some(_) => Err(FrameError::TooLong { limit }),
        None if stream.len() >= limit + delimiter.len() => Err(FrameError::TooLong { limit }),
        None => Err(FrameError::Truncated),
    }
}

fn length_prefixed(stream: &[u8], width: usize, endian: Endian, limit: usize) -> First {
    let mut prefix = stream.get(..width).ok_or(FrameError::Truncated)?.to_vec();
    if endian == Endian::Little {
        prefix.reverse();
    }
    let length = prefix.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    if length > limit as u128 {
        return Err(FrameError::TooLong { limit });
    }
    let end = width + length as usize;
    let payload = stream.get(width..end).ok_or(FrameError::Truncated)?;
    Ok((payload.to_vec(), end))
}

fn content_length(stream: &[u8], limit: usize) -> First {
    let malformed = || FrameError::Malformed(String::new());
    let head = match find(&stream[..stream.len().min(HEAD_LIMIT)], b"\r\n\r\n") {
        Some(end) => &stream[..end],
        None if stream.len() >= HEAD_LIMIT => return Err(FrameError::TooLong { limit: HEAD_LIMIT }),
        None => return Err(FrameError::Truncated),
    };
    // A char a byte, so that nothing is lost.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lengths = Vec::new();
    for field in text.split("\r\n") {
        let (name, value) = field.split_once(':').ok_or_else(malformed)?;
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim_matches([' ', '\t']);
            if value.is_empty() || value.chars().any(|digit| !digit.is_ascii_digit()) {
                return Err(malformed());
            }
            lengths.push(value.trim_start_matches('0').to_owned());
        }
    }
    lengths.dedup();
    let [length] = &lengths[..] else { return Err(malformed()) };
    // What has more digits than a limit can have is over it.
    let length = if length.is_empty() { Ok(0) } else { length.parse() };
    match length {
        Ok(length) if length <= limit => {
            let start = head.len() + 4;
            let body = stream.get(start..start + length).ok_or(FrameError::Truncated)?;
            Ok((body.to_vec(), start + length))
        }
        _ => Err(FrameError::TooLong { limit }),
    }
}
