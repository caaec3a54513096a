//! How much of what people wrote an operator is shown.

use clap::ValueEnum;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Characters of a token that are shown unless everything is: as many as logs have.
const TOKEN_CHARACTERS: usize = 6;

/// How a decoder begins to say that a field is missing. The field's name, which follows, is none of what people wrote.
const MISSING_FIELD: &str = "missing field `";

/// How much of what people wrote is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// Nothing of it
    #[default]
    None,
    /// Every letter and digit of it as x
    Masked,
    /// All of it
    Full,
}

/// The JSON of an event, or how long it is.
pub(super) fn disclose_data(data: &[u8], disclosure: Disclosure) -> String {
    match disclosure {
        Disclosure::None => format!("{} bytes", data.len()),
        // Also names of members and numbers: in an event that no release writes, they may be what people wrote, too.
        Disclosure::Masked => match (str::from_utf8(data), serde_json::from_slice::<IgnoredAny>(data)) {
            (Ok(json), Ok(_)) => mask(json),
            _ => format!("{} bytes, which are no JSON", data.len()),
        },
        Disclosure::Full => String::from_utf8_lossy(data).into_owned(),
    }
}

/// The reason of a dead letter behind a colon. What it quotes may be anything that people wrote.
pub(super) fn disclose_reason(reason: &str, disclosure: Disclosure) -> String {
    match disclosure {
        Disclosure::None => String::new(),
        Disclosure::Masked => format!(": {}", mask_quoted(reason)),
        Disclosure::Full => format!(": {reason}"),
    }
}

/// A stream, which begins with a token.
pub(super) fn disclose_stream(stream: &str, disclosure: Disclosure) -> String {
    let (token, rest) =
        stream.split_once(':').map_or((stream, String::new()), |(token, rest)| (token, format!(":{rest}")));
    match disclosure {
        Disclosure::Full => stream.to_owned(),
        Disclosure::None | Disclosure::Masked => {
            format!("{}…{rest}", token.chars().take(TOKEN_CHARACTERS).collect::<String>())
        }
    }
}

fn mask(text: &str) -> String {
    text.chars().map(|character| if character.is_alphanumeric() { 'x' } else { character }).collect()
}

/// Masks what stands between quotation marks, in which a backslash escapes the next character, and everything behind a quotation mark
/// that is not closed, or behind a backtick: what stands between backticks is not escaped, so nobody knows where it ends. Only the name of a
/// missing field is known to be the decoder's own.
fn mask_quoted(reason: &str) -> String {
    let mut masked = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(begin) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(begin + 1);
        masked.push_str(before);
        if before.ends_with(MISSING_FIELD) {
            let end = quoted.find('`').map_or(quoted.len(), |at| at + 1);
            masked.push_str(&quoted[..end]);
            rest = &quoted[end..];
            continue;
        }
        let end = if before.ends_with('"') { find_closing_mark(quoted) } else { quoted.len() };
        masked.push_str(&mask(&quoted[..end]));
        rest = &quoted[end..];
    }
    masked + rest
}

/// The end of a quotation with its closing mark, or of the text if nothing closes it.
fn find_closing_mark(quoted: &str) -> usize {
    let mut is_escaped = false;
    let closing = quoted.char_indices().find(|(_, character)| {
        let is_closing = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_closing
    });
    closing.map_or(quoted.len(), |(at, mark)| at + mark.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"body":"Hi, Zoë 7!","number":7}"#;

    #[test]
    fn data_is_shown_as_far_as_asked() {
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::None), "33 bytes");
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::Masked), r#"{"xxxx":"xx, xxx x!","xxxxxx":x}"#);
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::Full), DATA);
        assert_eq!(disclose_data(b"{secret", Disclosure::Masked), "7 bytes, which are no JSON");
    }

    #[test]
    fn a_reason_is_masked_where_it_quotes() {
        let reason = r#"invalid type: string "a secret", expected u32"#;
        assert_eq!(disclose_reason(reason, Disclosure::None), "");
        for (reason, masked) in [
            (reason, r#"invalid type: string "x xxxxxx", expected u32"#),
            (r#"a "say \"secret one\"", no"#, r#"a "xxx \"xxxxxx xxx\"", no"#),
            (r#"a "secret\\", no "other""#, r#"a "xxxxxx\\", no "xxxxx""#),
            (r#"a "cut \"off"#, r#"a "xxx \"xxx"#),
            ("unknown field `a`secret", "unknown field `x`xxxxxx"),
            ("missing field `number` at line 1 column 7", "missing field `number` at line 1 column 7"),
            (r#"missing field `a`, "secret""#, r#"missing field `a`, "xxxxxx""#),
            (r#"a "missing field `secret`""#, r#"a "xxxxxxx xxxxx `xxxxxx`""#),
        ] {
            assert_eq!(disclose_reason(reason, Disclosure::Masked), format!(": {masked}"));
        }
        assert_eq!(disclose_reason(reason, Disclosure::Full), format!(": {reason}"));
    }

    #[test]
    fn a_token_is_cut() {
        assert_eq!(disclose_stream("0123456789abcdef:7", Disclosure::Masked), "012345…:7");
        assert_eq!(disclose_stream("0123456789abcdef", Disclosure::None), "012345…");
        assert_eq!(disclose_stream("0123456789abcdef:7", Disclosure::Full), "0123456789abcdef:7");
    }
}
