//! Finds details in a text that are easily overlooked.

use lsp_types::{Diagnostic, DiagnosticSeverity};

use crate::text::{lines, range, words};

pub(crate) fn lint(text: &str) -> Vec<Diagnostic> {
    lines(text).enumerate().flat_map(|(number, line)| lint_line(number, line)).collect()
}

fn lint_line(number: usize, line: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut mark = |bytes, severity, message: String| {
        let mut diagnostic = Diagnostic::new_simple(range(number, line, bytes), message);
        diagnostic.severity = Some(severity);
        diagnostic.source = Some("notes".to_owned());
        found.push(diagnostic);
    };
    if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
        mark(0..line.len(), DiagnosticSeverity::ERROR, "a conflict that is not resolved".to_owned());
    }
    for word in words(line) {
        let severity = match &line[word.clone()] {
            "FIXME" => DiagnosticSeverity::WARNING,
            "TODO" => DiagnosticSeverity::INFORMATION,
            _ => continue,
        };
        mark(word.start..line.trim_end().len(), severity, line[word.start..].trim_end().to_owned());
    }
    for (byte, character) in line.char_indices() {
        if let Some(what) = disguise(character) {
            let message = format!("U+{:04X} {what}", u32::from(character));
            mark(byte..byte + character.len_utf8(), DiagnosticSeverity::WARNING, message);
        }
    }
    let kept = line.trim_end().len();
    if kept < line.len() {
        mark(kept..line.len(), DiagnosticSeverity::HINT, "blanks at the end of the line".to_owned());
    }
    found
}

/// Returns the reason why a text with this character may not be what it looks like (CVE-2021-42574, «Trojan
/// Source»).
fn disguise(character: char) -> Option<&'static str> {
    match character {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some("changes the order in which text is shown"),
        '\u{200b}' | '\u{2060}' | '\u{feff}' => Some("is not visible"),
        _ => None,
    }
}
