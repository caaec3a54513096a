//! Makes a server's text fit for errors and logs: the text may be long, and may repeat an application's token.

use std::fmt::Write;

/// Most characters of a text that are kept.
const MAX_CHARACTERS: usize = 300;
/// A run of so many hexadecimal digits is a token.
const TOKEN_DIGITS: usize = 32;
/// How many digits of a token are kept.
const KEPT_DIGITS: usize = 6;

/// Shortens tokens and the text itself, and joins its lines.
pub(super) fn redact(text: &str) -> String {
    let mut redacted = String::new();
    let mut rest = text;
    // Searches the whole text for tokens, so that cutting the text later cannot leave most of one.
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(start);
        let digits = from.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(from.len());
        let (run, after) = from.split_at(digits);
        redacted.push_str(before);
        if digits < TOKEN_DIGITS {
            redacted.push_str(run);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(redacted, "{}…", &run[..KEPT_DIGITS]);
        }
        rest = after;
    }
    redacted.push_str(rest);
    let mut characters = redacted.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = characters.by_ref().take(MAX_CHARACTERS).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_cut_wherever_they_are() {
        let token = "00ff17a9b4c3d2e1f0123456789abcde";
        let text = redact(&format!("id '{token}:7:1' and {token}, but not 00ff17a9b4c3d2e1 ä"));
        assert_eq!(text, "id '00ff17…:7:1' and 00ff17…, but not 00ff17a9b4c3d2e1 ä");
    }

    #[test]
    fn long_texts_are_cut_and_lines_joined() {
        assert_eq!(redact("one\ntwo"), "one two");
        assert_eq!(redact("one\u{85}two"), "one two", "a line's end of two bytes");
        assert_eq!(redact(&"ü".repeat(MAX_CHARACTERS)), "ü".repeat(MAX_CHARACTERS));
        let cut = redact(&"ü".repeat(1_000));
        assert_eq!(cut.chars().count(), MAX_CHARACTERS + 1);
        assert!(cut.ends_with('…'));
    }
}
