//! Lines of a text, and positions in lines. The protocol counts in units of UTF-16 (specification 3.17, «Text
//! Documents» and «Position»).

use lsp_types::{Position, Range};

/// Returns the lines without their ends. An end is CRLF, LF, or CR alone.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Returns the range of `bytes` in the line with this number.
pub(crate) fn range(number: usize, line: &str, bytes: std::ops::Range<usize>) -> Range {
    let position = |byte| Position::new(to_u32(number), to_u32(line[..byte].encode_utf16().count()));
    Range::new(position(bytes.start), position(bytes.end))
}

/// Returns the first byte of the character that is `units` from the start of the line. If the line is
/// shorter, returns its end. A position within a character counts as the start of the character.
pub(crate) fn byte_at(line: &str, units: u32) -> usize {
    let mut seen = 0;
    for (byte, character) in line.char_indices() {
        seen += to_u32(character.len_utf16());
        if seen > units {
            return byte;
        }
    }
    line.len()
}

/// Returns the words of a line, as ranges of bytes.
pub(crate) fn words(line: &str) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_of_word)?;
        let end = line[start..].find(|c| !is_of_word(c)).map_or(line.len(), |length| start + length);
        rest = end;
        Some(start..end)
    })
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
