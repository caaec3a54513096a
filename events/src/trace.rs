//! The trace of the request that led to an event: [W3C Trace Context](https://www.w3.org/TR/trace-context/).

use std::fmt;
use std::str::FromStr;

/// Length of a text of version 00. The text of a later version begins with as many characters in the same format.
const LENGTH: usize = 55;
/// The only flag that is kept from a later version: whether the trace is recorded.
const SAMPLED: u8 = 1;

/// The value of a header `traceparent`: the trace, the caller's span in it, and flags.
///
/// The log keeps it with an event, so that readers of the log can find the request that led to the event. Nothing else
/// depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

/// The text is not a well-formed `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent is 00-, 32 lower-case hexadecimal digits, 16 and 2 more, with dashes between them, the ids not all zeros"
)]
pub struct MalformedTraceParent;

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, parent, flags } = self;
        write!(f, "00-{trace:032x}-{parent:016x}-{flags:02x}")
    }
}

impl FromStr for TraceParent {
    type Err = MalformedTraceParent;

    /// Accepts later versions too: reads the fields of version 00 and ignores the fields after them.
    fn from_str(text: &str) -> Result<Self, MalformedTraceParent> {
        let (known, rest) = text.split_at_checked(LENGTH).ok_or(MalformedTraceParent)?;
        let mut fields = known.split('-');
        let mut hex = |digits| parse_lower_hex(fields.next()?, digits);
        let (Some(version), Some(trace), Some(parent), Some(flags)) = (hex(2), hex(32), hex(16), hex(2)) else {
            return Err(MalformedTraceParent);
        };
        let is_later = version != 0 && version != 0xff;
        let has_end = rest.is_empty() || is_later && rest.starts_with('-');
        if version == 0xff || !has_end || trace == 0 || parent == 0 {
            return Err(MalformedTraceParent);
        }
        let parent = u64::try_from(parent).map_err(|_| MalformedTraceParent)?;
        let flags = u8::try_from(flags).map_err(|_| MalformedTraceParent)?;
        Ok(Self { trace, parent, flags: if is_later { flags & SAMPLED } else { flags } })
    }
}

fn parse_lower_hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_hex).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_written_as_it_was_read() {
        for text in [TEXT, &TEXT.replace("-01", "-00"), &TEXT.replace("-01", "-ff")] {
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn the_known_fields_of_a_later_version_are_read() {
        let known = TEXT.parse::<TraceParent>().unwrap();
        for later in
            ["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &format!("cc{}-what-the-future", &TEXT[2..])]
        {
            assert_eq!(later.parse(), Ok(known), "{later}");
        }
        let flags = TEXT.replace("00-", "01-").replace("-01", "-fe");
        assert_eq!(flags.parse::<TraceParent>().unwrap().to_string(), TEXT.replace("-01", "-00"));
    }

    #[test]
    fn a_malformed_trace_is_refused() {
        for text in [
            "",
            "00",
            &TEXT.to_uppercase(),
            &TEXT.replace("00-", "ff-"),
            &TEXT.replace("00-", "0x-"),
            &TEXT.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &TEXT.replace("b7ad6b7169203331", "0000000000000000"),
            &TEXT.replace("b7ad6b7169203331", "+7ad6b7169203331"),
            &TEXT.replace('-', "_"),
            &TEXT[..54],
            &format!("{TEXT}-01"),
            &format!("{TEXT} "),
            &format!("{}x", TEXT.replace("00-", "01-")),
            &"é".repeat(40),
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(MalformedTraceParent), "{text}");
        }
    }
}
