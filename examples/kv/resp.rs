//! Commands and answers in the protocol of Redis, version 2:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use std::io::Write;

use backport::Result;

const MOST_WORDS: usize = 1024; // Redis itself allows far more of both.
const LONGEST_WORD: usize = 1024 * 1024;

/// Parses the command at the beginning of `bytes`. Returns its words and its size, or `None` if a part is missing.
pub(crate) fn command(bytes: &[u8]) -> Result<Option<(Vec<Vec<u8>>, usize)>> {
    let mut at = 0;
    let Some(head) = line(bytes, &mut at)? else { return Ok(None) };
    let Some(count) = head.strip_prefix(b"*") else {
        // A person types a line into nc.
        let words = head.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    };
    let mut words = Vec::new();
    for _ in 0..length(count, MOST_WORDS)? {
        let Some(head) = line(bytes, &mut at)? else { return Ok(None) };
        let size = length(head.strip_prefix(b"$").ok_or("expected '$' before a word")?, LONGEST_WORD)?;
        let Some(word) = bytes.get(at..at + size + 2) else { return Ok(None) };
        words.push(word.strip_suffix(b"\r\n").ok_or("expected the end of a word")?.to_vec());
        at += size + 2;
    }
    Ok(Some((words, at)))
}

/// Returns the line that begins at `at`, and moves `at` behind it.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>> {
    let rest = &bytes[*at..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() < LONGEST_WORD { Ok(None) } else { Err("too long a line".into()) };
    };
    *at += end + 1;
    Ok(Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])))
}

fn length(digits: &[u8], limit: usize) -> Result<usize> {
    let length = std::str::from_utf8(digits)?.parse().ok().filter(|length| *length <= limit);
    Ok(length.ok_or_else(|| format!("invalid length, the limit is {limit}"))?)
}

/// Adds a word, or the answer that there is none.
pub(crate) fn word(answers: &mut Vec<u8>, word: Option<&[u8]>) -> Result {
    let Some(word) = word else { return Ok(write!(answers, "$-1\r\n")?) };
    write!(answers, "${}\r\n", word.len())?;
    answers.extend_from_slice(word);
    Ok(write!(answers, "\r\n")?)
}

/// Adds a number, or an error if there is none.
pub(crate) fn integer(answers: &mut Vec<u8>, number: Option<i64>) -> Result {
    match number {
        Some(number) => Ok(write!(answers, ":{number}\r\n")?),
        None => Ok(write!(answers, "-ERR value is not an integer or out of range\r\n")?),
    }
}
