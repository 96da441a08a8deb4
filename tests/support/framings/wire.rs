//! The framings as data, and each decoded a second time: by hand, the whole stream at once, without
//! a thought for speed.

use backport::framing::{ContentLength, Delimited, Endian, FrameError, Framing, LengthPrefixed, Lines};

use super::Outcome;

/// The most that a header part may have, as `ContentLength` says.
const HEAD_LIMIT: usize = 8 * 1024;

/// How lines are encoded, and whether CR ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Lf,
    Crlf,
    /// CR, CR LF and CR NUL are ends too; encoded with LF.
    CrOrLf,
    /// The same, encoded with CR LF.
    CrOrCrlf,
}

impl Ends {
    pub(crate) const ALL: [Ends; 4] = [Ends::Lf, Ends::Crlf, Ends::CrOrLf, Ends::CrOrCrlf];

    fn cr(self) -> bool {
        matches!(self, Ends::CrOrLf | Ends::CrOrCrlf)
    }
}

/// How frames lie on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Lines { ends: Ends, limit: usize },
    Delimited { delimiter: Vec<u8>, limit: usize },
    LengthPrefixed { width: usize, endian: Endian, limit: usize },
    ContentLength { limit: usize },
}

/// The first frame of a stream, and how many bytes it takes; or why there is none.
pub(crate) type First = Result<(Vec<u8>, usize), FrameError>;

impl Wire {
    pub(crate) fn framing(&self) -> Box<dyn Framing> {
        match self.clone() {
            Wire::Lines { ends, limit } => {
                let lines = Lines::with_limit(limit);
                Box::new(match ends {
                    Ends::Lf => lines,
                    Ends::Crlf => lines.crlf(),
                    Ends::CrOrLf => lines.carriage_returns(),
                    Ends::CrOrCrlf => lines.carriage_returns().crlf(),
                })
            }
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
            Wire::Lines { ends, limit } if ends.cr() => line_or_cr(stream, *limit),
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
                Wire::Lines { ends, .. } if ends.cr() => !payload.iter().any(|byte| b"\r\n".contains(byte)),
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

/// Any of four ends. A pair counts only as a whole.
fn line_or_cr(stream: &[u8], limit: usize) -> First {
    for at in 0..=stream.len() {
        let rest = &stream[at..];
        let pair = rest.starts_with(b"\r\n") || rest.starts_with(b"\r\0");
        let used = match rest.first() {
            _ if pair => at + 2,
            Some(b'\r' | b'\n') => at + 1,
            None => at,
            Some(_) => continue,
        };
        return if at > limit {
            Err(FrameError::TooLong { limit })
        } else {
            Ok((stream[..at].to_vec(), used))
        };
    }
    unreachable!("the end of the stream is the end of a line")
}

fn delimited(stream: &[u8], delimiter: &[u8], limit: usize) -> First {
    match find(stream, delimiter) {
        Some(end) if end <= limit => Ok((stream[..end].to_vec(), end + delimiter.len())),
        Some(_) => Err(FrameError::TooLong { limit }),
        // The delimiter may be about to come.
        None if (0..=limit.min(stream.len())).any(|at| delimiter.starts_with(&stream[at..])) => {
            Err(FrameError::Truncated)
        }
        None if stream.len() > limit => Err(FrameError::TooLong { limit }),
        None => Err(FrameError::Truncated),
    }
}

fn length_prefixed(stream: &[u8], width: usize, endian: Endian, limit: usize) -> First {
    let arrived = stream.len().min(width);
    let mut prefix = stream[..arrived].to_vec();
    prefix.resize(width, 0);
    if endian == Endian::Little {
        prefix.reverse();
    }
    let length = prefix.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    if length > limit as u128 {
        return Err(FrameError::TooLong { limit });
    }
    let end = width + length as usize;
    let payload = stream.get(width..end).filter(|_| arrived == width).ok_or(FrameError::Truncated)?;
    Ok((payload.to_vec(), end))
}

fn content_length(stream: &[u8], limit: usize) -> First {
    let malformed = || FrameError::Malformed(String::new());
    let mut length = None;
    let mut at = 0;
    loop {
        let line = &stream[at..];
        // The empty line ends the header.
        if at > 0 && line.first() == Some(&b'\r') {
            let length = length.ok_or_else(malformed)?;
            within_head(at + 2)?;
            return match line.get(1) {
                None => Err(FrameError::Truncated),
                Some(b'\n') => {
                    let body = stream.get(at + 2..).and_then(|rest| rest.get(..length));
                    body.map(|body| (body.to_vec(), at + 2 + length)).ok_or(FrameError::Truncated)
                }
                Some(_) => Err(malformed()),
            };
        }
        let token = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
        let name = line.iter().take_while(|byte| token(byte)).count();
        let counts = line[..name].eq_ignore_ascii_case(b"content-length");
        match line.get(name) {
            // Before the end of the line come the colon and two line ends, or the last line end alone.
            None if name == 0 => return within_head(at + 2).and(Err(FrameError::Truncated)),
            None => return within_head(at + name + 5).and(Err(FrameError::Truncated)),
            Some(b':') if name > 0 => {}
            Some(_) => return within_head(at + name + if name == 0 { 2 } else { 5 }).and(Err(malformed())),
        }
        let value = &line[name + 1..];
        let allowed = |byte: &u8| matches!(byte, b'\t' | 0x80..) || (b' '..=b'~').contains(byte);
        let mut size = value.iter().take_while(|byte| allowed(byte)).count();
        let mut wrong = None;
        if counts {
            (size, wrong) = number(value, size, &mut length, limit);
        }
        let digit_to_come = counts && value[..size].iter().all(|byte| b" \t".contains(byte));
        let needs = if digit_to_come { 5 } else { 4 };
        within_head(at + name + 1 + size + needs)?;
        if let Some(error) = wrong {
            return Err(error);
        }
        match &value[size..] {
            [] => return Err(FrameError::Truncated),
            [b'\r', ..] if digit_to_come => return Err(malformed()),
            [b'\r'] => return Err(FrameError::Truncated),
            [b'\r', b'\n', ..] => at += name + 1 + size + 2,
            _ => return Err(malformed()),
        }
    }
}

/// `TooLong` if a head needs more than a head may have.
fn within_head(needed: usize) -> Result<(), FrameError> {
    if needed > HEAD_LIMIT {
        return Err(FrameError::TooLong { limit: HEAD_LIMIT });
    }
    Ok(())
}

/// How much of a value is a Content-Length, and what is wrong with the byte after that. The bytes that may
/// be in a value are `size`.
fn number(
    value: &[u8],
    size: usize,
    length: &mut Option<usize>,
    limit: usize,
) -> (usize, Option<FrameError>) {
    let malformed = FrameError::Malformed(String::new());
    let blanks = |from: usize| value[from..size].iter().take_while(|byte| b" \t".contains(byte)).count();
    let first = blanks(0);
    let digits = value[first..size].iter().take_while(|byte| byte.is_ascii_digit()).count();
    for end in first + 1..=first + digits {
        let text = std::str::from_utf8(&value[first..end]).unwrap().trim_start_matches('0');
        // Another number than before: no more digits make it the same.
        if length.is_some_and(|length| !length.to_string().starts_with(text) && !(text.is_empty())) {
            return (end - 1, Some(malformed));
        }
        // What has more digits than a limit can have is over it.
        if !text.is_empty() && text.parse::<usize>().map_or(true, |number| number > limit) {
            return (end - 1, Some(FrameError::TooLong { limit }));
        }
    }
    let end = first + digits;
    if digits == 0 || end == value.len() {
        return (end, (end < size).then_some(malformed));
    }
    let after = blanks(end);
    if after == 0 && value[end] != b'\r' {
        return (end, Some(malformed));
    }
    let number = std::str::from_utf8(&value[first..end]).unwrap().parse().unwrap();
    if length.is_some_and(|length| length != number) {
        return (end, Some(malformed));
    }
    *length = Some(number);
    (end + after, (end + after < size).then_some(malformed))
}
