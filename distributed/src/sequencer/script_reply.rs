//! What the reserve script answers, and what becomes of it where it is no number.

use event_log::ReserveError;
use events::Number;
use redis::Value;

use super::redis_client::RedisFailure;

/// What the script answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An integer: a number, or that it was done.
    Number(i64),
    /// The request was given this name before.
    Known(String),
    /// The request's key was used with other values.
    Reused,
    /// The key may have been used before this epoch.
    Ask,
    /// The counter is not there; the last number of the parent's own parent, if that is there.
    Cold { above: Option<u32> },
    /// There is no higher number.
    Exhausted,
    /// There is no ticket for the counter any more.
    Late,
    /// What no script of Tally answers.
    Nonsense(String),
}

/// Why the script gave nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The epoch is over.
    Over,
    Failed(RedisFailure),
}

/// What the script has answered; `None` if it said that its epoch is over.
pub(super) fn answer(value: &Value) -> Option<Answer> {
    if let Value::Int(number) = value {
        return Some(Answer::Number(*number));
    }
    let Value::Array(parts) = value else {
        return Some(Answer::Nonsense(format!("{value:?}")));
    };
    let text = |index: usize| match parts.get(index) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    Some(match text(0).as_str() {
        "fenced" => return None,
        "known" => Answer::Known(text(1)),
        "reused" => Answer::Reused,
        "ask" => Answer::Ask,
        "cold" => Answer::Cold { above: text(1).parse().ok() },
        "exhausted" => Answer::Exhausted,
        "late" => Answer::Late,
        other => Answer::Nonsense(other.to_owned()),
    })
}

pub(super) fn number_of(number: i64) -> Result<Number, ReserveError> {
    u32::try_from(number).ok().and_then(Number::new).ok_or_else(|| nonsense(&number.to_string()))
}

pub(super) fn nonsense(answer: &str) -> ReserveError {
    ReserveError::Unavailable(format!("Redis answered what no script of Tally answers: {answer}").into())
}

pub(super) fn refused(refusal: Refusal) -> ReserveError {
    match refusal {
        Refusal::Over => ReserveError::Fencing,
        Refusal::Failed(error) => ReserveError::Unavailable(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> Option<Answer> {
        answer(&Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect()))
    }

    #[test]
    fn an_integer_is_a_number_and_a_list_says_why_there_is_none() {
        assert_eq!(answer(&Value::Int(7)), Some(Answer::Number(7)));
        assert_eq!(said(&["fenced"]), None);
        assert_eq!(said(&["known", "7"]), Some(Answer::Known("7".to_owned())));
        assert_eq!(said(&["cold", "7"]), Some(Answer::Cold { above: Some(7) }));
        assert_eq!(said(&["cold", ""]), Some(Answer::Cold { above: None }));
        for (word, meant) in
            [("reused", Answer::Reused), ("ask", Answer::Ask), ("exhausted", Answer::Exhausted), ("late", Answer::Late)]
        {
            assert_eq!(said(&[word]), Some(meant));
        }
        assert!(matches!(said(&["else"]), Some(Answer::Nonsense(_))));
        assert!(matches!(answer(&Value::Nil), Some(Answer::Nonsense(_))));
    }

    #[test]
    fn only_what_a_number_can_be_is_one() {
        assert_eq!(number_of(1).unwrap().get(), 1);
        assert_eq!(number_of(u32::MAX.into()).unwrap().get(), u32::MAX);
        for no_number in [0, -1, i64::from(u32::MAX) + 1] {
            assert!(matches!(number_of(no_number), Err(ReserveError::Unavailable(_))), "{no_number}");
        }
    }
}
