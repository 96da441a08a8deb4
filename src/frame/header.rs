//! [`Header`]: reads the header part of a [`ContentLength`](super::content_length::ContentLength) frame.
//!
//! Each byte is read once, when it arrives. The first byte that cannot be part of a header is the error, so a
//! peer that speaks another protocol gets an answer at once. A `ContentLength` owns the header that it reads,
//! and begins a new one after each frame.

use crate::frame::{excerpt, FrameError};

/// The name of the field that counts.
const CONTENT_LENGTH: &[u8] = b"content-length";

/// The part of a header that was read.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// How many bytes were read.
    read: usize,
    /// The position at which the current line begins.
    line: usize,
    stage: Stage,
    /// The value of the `Content-Length` fields so far.
    length: Option<usize>,
}

/// The largest sizes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderLimits {
    /// The limit of the body.
    pub(super) body: usize,
    /// The limit of the header part, with the empty line at its end.
    pub(super) header: usize,
}

/// Which part of a line the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The name of a field, or the line end after the last field.
    Name {
        /// The bytes of the name are the beginning of `Content-Length`.
        is_length: bool,
    },
    /// The value of another field.
    Value,
    /// The value of `Content-Length`: blanks, digits, blanks.
    BeforeNumber,
    Number(usize),
    AfterNumber,
    /// The LF at the end of a field.
    LineFeed,
    /// The LF at the end of the header.
    LastLineFeed,
    Complete,
}

/// Why a byte cannot be part of a header.
enum Fault {
    NoField,
    NoLength,
    NoNumber,
    OtherLength(usize),
    LineFeedAlone,
    CarriageReturnAlone,
    ControlByte,
    TooLong(usize),
}

impl Header {
    pub(super) fn new() -> Header {
        Header { read: 0, line: 0, stage: Stage::Name { is_length: true }, length: None }
    }

    /// Reads the bytes of `input` that were not read yet. Returns where the body begins and ends, if the
    /// header is complete.
    ///
    /// # Errors
    /// Returns an error at the first byte that cannot be part of a header, or if a limit will be exceeded.
    /// If it is called again with the same bytes, it returns the same error.
    pub(super) fn read(
        &mut self,
        input: &[u8],
        limits: HeaderLimits,
    ) -> Result<Option<(usize, usize)>, FrameError> {
        while let (Some(&byte), false) = (input.get(self.read), self.stage == Stage::Complete) {
            let stage = self.after(byte, limits.body).map_err(|fault| self.describe(&fault, input))?;
            let line = if stage == (Stage::Name { is_length: true }) && byte == b'\n' {
                self.read + 1
            } else {
                self.line
            };
            let least = self.read + 1 + stage.missing(self.read + 1 == line);
            if least > limits.header {
                return Err(FrameError::TooLong { limit: limits.header });
            }
            (self.read, self.line, self.stage) = (self.read + 1, line, stage);
        }
        match self.length {
            Some(length) if self.stage == Stage::Complete => {
                let end = self.read.checked_add(length).ok_or(FrameError::TooLong { limit: limits.body })?;
                Ok(Some((self.read, end)))
            }
            _ => Ok(None),
        }
    }

    /// Returns the stage after `byte`.
    ///
    /// The names of fields are tokens, and their values are visible bytes and blanks (RFC 9110, sections
    /// 5.1, 5.5 and 5.6.2). A line that begins with a blank would continue a value, which is obsolete.
    fn after(&mut self, byte: u8, limit: usize) -> Result<Stage, Fault> {
        let column = self.read - self.line;
        match (self.stage, byte) {
            (Stage::Name { is_length }, b':') if column > 0 => {
                let is_length = is_length && column == CONTENT_LENGTH.len();
                Ok(if is_length { Stage::BeforeNumber } else { Stage::Value })
            }
            (Stage::Name { is_length }, _) if is_token(byte) => {
                let expected = CONTENT_LENGTH.get(column).copied();
                Ok(Stage::Name { is_length: is_length && expected == Some(byte.to_ascii_lowercase()) })
            }
            (Stage::Name { .. }, b'\r') if column == 0 && self.read > 0 => {
                self.length.map(|_| Stage::LastLineFeed).ok_or(Fault::NoLength)
            }
            (Stage::Name { .. }, b'\n') if column == 0 && self.read > 0 => Err(Fault::LineFeedAlone),
            (Stage::Name { .. }, _) => Err(Fault::NoField),
            (Stage::LineFeed, b'\n') => Ok(Stage::Name { is_length: true }),
            (Stage::LastLineFeed, b'\n') => Ok(Stage::Complete),
            (Stage::LineFeed | Stage::LastLineFeed, _) => Err(Fault::CarriageReturnAlone),
            (_, b'\n') => Err(Fault::LineFeedAlone),
            (Stage::Value | Stage::AfterNumber, b'\r') => Ok(Stage::LineFeed),
            (Stage::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(Stage::Value),
            (Stage::Value, _) => Err(Fault::ControlByte),
            (Stage::BeforeNumber | Stage::AfterNumber, b' ' | b'\t') => Ok(self.stage),
            (Stage::BeforeNumber, b'0'..=b'9') => self.digit(0, byte, limit),
            (Stage::Number(number), b'0'..=b'9') => self.digit(number, byte, limit),
            (Stage::Number(number), b' ' | b'\t' | b'\r') => {
                match self.length {
                    Some(other) if other != number => return Err(Fault::OtherLength(other)),
                    _ => self.length = Some(number),
                }
                Ok(if byte == b'\r' { Stage::LineFeed } else { Stage::AfterNumber })
            }
            (Stage::BeforeNumber | Stage::Number(_) | Stage::AfterNumber | Stage::Complete, _) => {
                Err(Fault::NoNumber)
            }
        }
    }

    /// Appends a digit to a number.
    fn digit(&self, number: usize, digit: u8, limit: usize) -> Result<Stage, Fault> {
        let longer = number.checked_mul(10).and_then(|tens| tens.checked_add(usize::from(digit - b'0')));
        if let Some(other) = self.length {
            let mut beginning = other;
            while longer.is_some_and(|longer| beginning > longer) {
                beginning /= 10;
            }
            if longer != Some(beginning) {
                return Err(Fault::OtherLength(other));
            }
        }
        match longer {
            Some(number) if number <= limit => Ok(Stage::Number(number)),
            _ => Err(Fault::TooLong(limit)),
        }
    }

    /// Describes a fault at the byte that comes next in `input`.
    fn describe(&self, fault: &Fault, input: &[u8]) -> FrameError {
        let before = excerpt(&input[self.line..self.read]);
        let with_byte = excerpt(&input[self.line..=self.read]);
        FrameError::Malformed(match fault {
            Fault::TooLong(limit) => return FrameError::TooLong { limit: *limit },
            Fault::NoField => {
                let line = &input[self.line..];
                // The line end itself is shown only if the line is empty.
                let end = line.iter().skip(1).position(|byte| matches!(byte, b'\r' | b'\n'));
                let end = match line {
                    [b'\r', b'\n', ..] => 2,
                    _ => end.map_or(line.len(), |end| end + 1),
                };
                let found = excerpt(&line[..end]);
                let hint = match line {
                    [b'{' | b'[', ..] => "; is the client sending newline-delimited JSON?",
                    _ => "",
                };
                format!("expected a header such as `Content-Length: 12`, found `{found}`{hint}")
            }
            Fault::NoLength => {
                let header = excerpt(&input[..self.read.saturating_sub(2)]);
                format!("expected the header `Content-Length`, found only `{header}`")
            }
            Fault::NoNumber => format!("expected a Content-Length in digits, found `{with_byte}`"),
            Fault::OtherLength(other) => {
                format!("expected Content-Length {other} again, found `{with_byte}`")
            }
            Fault::LineFeedAlone if self.read == self.line => {
                "a header line must end in CR LF, found an empty line that ends in LF alone".to_owned()
            }
            Fault::LineFeedAlone => {
                format!("a header line must end in CR LF, found LF alone after `{before}`")
            }
            Fault::CarriageReturnAlone => {
                let before = excerpt(&input[self.line..self.read - 1]);
                let byte = excerpt(&input[self.read..=self.read]);
                format!("a header line must end in CR LF, found CR and `{byte}` after `{before}`")
            }
            Fault::ControlByte => {
                let byte = excerpt(&input[self.read..=self.read]);
                format!("a header cannot contain the byte `{byte}`, found after `{before}`")
            }
        })
    }
}

impl Stage {
    /// Returns how many bytes the header needs at least after this stage.
    fn missing(self, at_line_start: bool) -> usize {
        match self {
            Stage::Name { .. } if at_line_start => b"\r\n".len(),
            Stage::Name { .. } => b":\r\n\r\n".len(),
            Stage::BeforeNumber => b"0\r\n\r\n".len(),
            Stage::Value | Stage::Number(_) | Stage::AfterNumber => b"\r\n\r\n".len(),
            Stage::LineFeed => b"\n\r\n".len(),
            Stage::LastLineFeed => b"\n".len(),
            Stage::Complete => 0,
        }
    }
}

/// Returns `true` if the name of a field may contain this byte (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
