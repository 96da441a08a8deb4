//! Describes a position in a text.

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind, Position};

use crate::text::{byte_at, lines, range, words};

/// Describes the word at a position by how often and where it occurs, or any other character by its code.
pub(crate) fn hover(text: &str, position: Position) -> Option<Hover> {
    let number = usize::try_from(position.line).ok()?;
    let line = lines(text).nth(number)?;
    let byte = byte_at(line, position.character);
    let (bytes, said) = match words(line).find(|word| word.contains(&byte)) {
        Some(word) => (word.clone(), describe_word(text, &line[word])),
        None => {
            let character = line[byte..].chars().next()?;
            (byte..byte + character.len_utf8(), describe_character(character))
        }
    };
    Some(Hover {
        contents: HoverContents::Markup(MarkupContent { kind: MarkupKind::PlainText, value: said }),
        range: Some(range(number, line, bytes)),
    })
}

fn describe_word(text: &str, word: &str) -> String {
    let mut count = 0;
    let mut places: Vec<String> = Vec::new();
    for (line, number) in lines(text).zip(1_usize..) {
        let here = words(line).filter(|other| &line[other.clone()] == word).count();
        if here > 0 {
            count += here;
            places.push(number.to_string());
        }
    }
    let noun = if places.len() == 1 { "line" } else { "lines" };
    format!("{word}: {count} × in this text, {noun} {}", places.join(", "))
}

fn describe_character(character: char) -> String {
    let (code, utf8, utf16) = (u32::from(character), character.len_utf8(), character.len_utf16());
    format!("U+{code:04X}: {utf8} bytes in UTF-8, {utf16} units in UTF-16")
}
