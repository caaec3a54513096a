//! Connections of clients.

use std::num::ParseIntError;
use std::time::Duration;

use clap::Args;

use crate::serve::DEFAULT_IDLE_TIMEOUT;

/// How long connections are kept.
#[derive(Debug, Clone, Args)]
pub struct Connections {
    /// Seconds for which the APIs keep a connection without a request: longer than a proxy in front keeps its own
    #[arg(long, env = "TALLY_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = DEFAULT_IDLE_TIMEOUT.as_secs(),
        value_parser = parse_seconds)]
    idle_timeout: u64,
}

/// Longest idle timeout in seconds: a day.
const MAX_SECONDS: u64 = 24 * 60 * 60;

/// Why a text is no idle timeout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write whole seconds, from 1 to {MAX_SECONDS}, such as 75")]
struct MalformedSeconds(#[source] Option<ParseIntError>);

impl Connections {
    /// Longest silence between two requests of a connection.
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout)
    }
}

fn parse_seconds(text: &str) -> Result<u64, MalformedSeconds> {
    let seconds = text.parse().map_err(|error| MalformedSeconds(Some(error)))?;
    if (1..=MAX_SECONDS).contains(&seconds) { Ok(seconds) } else { Err(MalformedSeconds(None)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_timeout_is_whole_seconds_within_a_day() {
        assert_eq!(parse_seconds("1"), Ok(1));
        assert_eq!(parse_seconds("86400"), Ok(86_400));
        for text in ["", "0", "-1", "1.5", "75s", "86401"] {
            assert!(parse_seconds(text).unwrap_err().to_string().contains("whole seconds"), "{text}");
        }
    }
}
