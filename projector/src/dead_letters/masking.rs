//! How much of what people wrote an operator is shown.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Characters of a token that are shown unless everything is: as many as logs have.
const TOKEN_CHARACTERS: usize = 6;

/// How much of what people wrote is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// Nothing of it
    #[default]
    None,
    /// Every letter and digit as x
    Masked,
    /// All of it
    Full,
}

/// The JSON of an event, or how long it is.
pub(super) fn disclose_data(data: &[u8], disclosure: Disclosure) -> String {
    let parsed = serde_json::from_slice::<Value>(data);
    match (disclosure, parsed) {
        (Disclosure::None, _) => format!("{} bytes", data.len()),
        (Disclosure::Masked, Ok(value)) => mask_value(value).to_string(),
        (Disclosure::Masked, Err(_)) => format!("{} bytes, which are no JSON", data.len()),
        (Disclosure::Full, _) => String::from_utf8_lossy(data).into_owned(),
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

fn mask_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(mask_value).collect()),
        // Names of members may be what people wrote, too, in an event that no release writes.
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, mask_value(value))).collect())
        }
        other => other,
    }
}

fn mask(text: &str) -> String {
    text.chars().map(|character| if character.is_alphanumeric() { 'x' } else { character }).collect()
}

/// Masks what stands between quotation marks or backticks, and behind one that is not closed.
fn mask_quoted(reason: &str) -> String {
    let mut quote = None;
    let mask_character = |character: char| {
        match quote {
            None if matches!(character, '"' | '`') => quote = Some(character),
            Some(open) if character == open => quote = None,
            Some(_) if character.is_alphanumeric() => return 'x',
            _ => {}
        }
        character
    };
    reason.chars().map(mask_character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = r#"{"body":"Hi, Zoë 7!","number":7}"#;

    #[test]
    fn data_is_shown_as_far_as_asked() {
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::None), "33 bytes");
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::Masked), r#"{"body":"xx, xxx x!","number":7}"#);
        assert_eq!(disclose_data(DATA.as_bytes(), Disclosure::Full), DATA);
        assert_eq!(disclose_data(b"{secret", Disclosure::Masked), "7 bytes, which are no JSON");
    }

    #[test]
    fn a_reason_is_masked_where_it_quotes() {
        let reason = r#"invalid type: string "a secret", expected u32 at `member"#;
        assert_eq!(disclose_reason(reason, Disclosure::None), "");
        let masked = r#": invalid type: string "x xxxxxx", expected u32 at `xxxxxx"#;
        assert_eq!(disclose_reason(reason, Disclosure::Masked), masked);
        assert_eq!(disclose_reason(reason, Disclosure::Full), format!(": {reason}"));
    }

    #[test]
    fn a_token_is_cut() {
        assert_eq!(disclose_stream("0123456789abcdef:7", Disclosure::Masked), "012345…:7");
        assert_eq!(disclose_stream("0123456789abcdef", Disclosure::None), "012345…");
        assert_eq!(disclose_stream("0123456789abcdef:7", Disclosure::Full), "0123456789abcdef:7");
    }
}
