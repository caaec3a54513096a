//! The replies of an epoch's script.

use event_log::ReserveError;
use events::Number;
use redis::Value;

use super::redis_client::RedisFailure;

/// A reply from a script whose epoch is in force.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScriptReply {
    /// A number, or 1 for "done" and "yes".
    Integer(i64),
    /// The request received this number or token before.
    KnownRequest(String),
    /// The request's key was used with other values.
    KeyReused,
    /// The key may have been used before this epoch, so `counts` must be read.
    LookUpRequest,
    /// The counter does not exist. For a chat, `last_chat` is its application's counter, if that exists.
    ColdCounter { last_chat: Option<u32> },
    /// The parent has no higher number.
    Exhausted,
    /// The ticket for the counter has expired or was used.
    TicketExpired,
    /// A reply that no script of Tally gives.
    Unexpected(String),
}

/// The epoch of the script is not in force any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EpochOver;

/// Why a call of the script has no reply.
#[derive(Debug)]
pub(super) enum ScriptError {
    EpochOver,
    Redis(RedisFailure),
}

impl From<ScriptError> for ReserveError {
    fn from(error: ScriptError) -> Self {
        match error {
            ScriptError::EpochOver => Self::Fencing,
            ScriptError::Redis(error) => Self::Unavailable(error.into()),
        }
    }
}

pub(super) fn parse_reply(value: &Value) -> Result<ScriptReply, EpochOver> {
    let parts = match value {
        Value::Int(integer) => return Ok(ScriptReply::Integer(*integer)),
        Value::Array(parts) => parts,
        other => return Ok(ScriptReply::Unexpected(format!("{other:?}"))),
    };
    let text = |index: usize| match parts.get(index) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    Ok(match text(0).as_str() {
        "fenced" => return Err(EpochOver),
        "known" => ScriptReply::KnownRequest(text(1)),
        "reused" => ScriptReply::KeyReused,
        "ask" => ScriptReply::LookUpRequest,
        "cold" => ScriptReply::ColdCounter { last_chat: text(1).parse().ok() },
        "exhausted" => ScriptReply::Exhausted,
        "late" => ScriptReply::TicketExpired,
        other => ScriptReply::Unexpected(other.to_owned()),
    })
}

pub(super) fn parse_number(integer: i64) -> Result<Number, ReserveError> {
    u32::try_from(integer).ok().and_then(Number::new).ok_or_else(|| unexpected_reply(&integer.to_string()))
}

pub(super) fn unexpected_reply(reply: &str) -> ReserveError {
    ReserveError::Unavailable(format!("Redis gave a reply that no script of Tally gives: {reply}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_list(words: &[&str]) -> Result<ScriptReply, EpochOver> {
        parse_reply(&Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect()))
    }

    #[test]
    fn an_integer_is_a_number_and_a_list_is_a_reason() {
        assert_eq!(parse_reply(&Value::Int(7)), Ok(ScriptReply::Integer(7)));
        assert_eq!(parse_list(&["fenced"]), Err(EpochOver));
        assert_eq!(parse_list(&["known", "7"]), Ok(ScriptReply::KnownRequest("7".to_owned())));
        assert_eq!(parse_list(&["cold", "7"]), Ok(ScriptReply::ColdCounter { last_chat: Some(7) }));
        assert_eq!(parse_list(&["cold", ""]), Ok(ScriptReply::ColdCounter { last_chat: None }));
        for (word, reply) in [
            ("reused", ScriptReply::KeyReused),
            ("ask", ScriptReply::LookUpRequest),
            ("exhausted", ScriptReply::Exhausted),
            ("late", ScriptReply::TicketExpired),
        ] {
            assert_eq!(parse_list(&[word]), Ok(reply));
        }
        assert!(matches!(parse_list(&["else"]), Ok(ScriptReply::Unexpected(_))));
        assert!(matches!(parse_reply(&Value::Nil), Ok(ScriptReply::Unexpected(_))));
    }

    #[test]
    fn an_integer_out_of_range_is_no_number() {
        assert_eq!(parse_number(1).unwrap().get(), 1);
        assert_eq!(parse_number(u32::MAX.into()).unwrap().get(), u32::MAX);
        for integer in [0, -1, i64::from(u32::MAX) + 1] {
            assert!(matches!(parse_number(integer), Err(ReserveError::Unavailable(_))), "{integer}");
        }
    }
}
