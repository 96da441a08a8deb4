//! Splits Rust source text into tokens, as far as imports need it.

/// A word, a punctuation mark (`::` is one), or a string with its opening quote, and its line.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Splits source text into tokens. Comments are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let (mut tokens, mut index, mut line) = (Vec::new(), 0, 1);
    while index < chars.len() {
        let start = index;
        let kept = match at(index) {
            '/' if at(index + 1) == '/' => {
                index += chars[index..].iter().take_while(|&&next| next != '\n').count();
                false
            }
            '/' if at(index + 1) == '*' => {
                index = end_of_block_comment(&chars, index);
                false
            }
            '"' => {
                index = end_of_string(&chars, index);
                true
            }
            'r' | 'b' | 'c' if raw_hashes(&chars, index).is_some() => {
                let (quote, hashes) = raw_hashes(&chars, index).expect("it was asked above");
                index = end_of_raw_string(&chars, quote, hashes);
                false
            }
            // A character ends with a quote, and a lifetime does not.
            '\'' if at(index + 1) == '\\' || at(index + 2) == '\'' => {
                index += if at(index + 1) == '\\' { 3 } else { 2 };
                index += chars[index..].iter().take_while(|&&next| next != '\'').count() + 1;
                false
            }
            first if is_word(first) => {
                index += chars[index..].iter().take_while(|&&next| is_word(next)).count();
                true
            }
            ':' if at(index + 1) == ':' => {
                index += 2;
                true
            }
            other => {
                index += 1;
                !other.is_whitespace()
            }
        };
        let end = index.min(chars.len());
        if kept {
            tokens.push(Token { text: chars[start..end].iter().collect(), line });
        }
        line += chars[start..end].iter().filter(|&&next| next == '\n').count();
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Block comments can be nested.
fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut index) = (1, start + 2);
    while depth > 0 && index < chars.len() {
        match (chars[index], chars.get(index + 1)) {
            ('*', Some('/')) => (depth, index) = (depth - 1, index + 2),
            ('/', Some('*')) => (depth, index) = (depth + 1, index + 2),
            _ => index += 1,
        }
    }
    index
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The place of the opening quote and the number of `#` before it, if a raw string starts here.
fn raw_hashes(chars: &[char], start: usize) -> Option<(usize, usize)> {
    let prefix = chars[start..].iter().take_while(|next| matches!(next, 'b' | 'c' | 'r')).count();
    let hashes = chars[start + prefix..].iter().take_while(|&&next| next == '#').count();
    let raw = prefix <= 2 && chars[start + prefix - 1] == 'r';
    let quote = start + prefix + hashes;
    (raw && chars.get(quote) == Some(&'"')).then_some((quote, hashes))
}

fn end_of_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut index = quote + 1;
    while index < chars.len() {
        let closed = chars[index + 1..].iter().take(hashes).filter(|&&next| next == '#').count() == hashes;
        index += 1;
        if chars[index - 1] == '"' && closed {
            return index + hashes;
        }
    }
    index
}
