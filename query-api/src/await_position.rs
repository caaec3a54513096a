//! Read your own writes: the headers `Await-Position` and `Prefer: wait`.
//!
//! A write and a read return `Log-Position`. A read may send it as `Await-Position`, or several joined by commas. The read is
//! answered once the projections that it needs have passed all of these positions.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use axum::http::request::Parts;
use events::{ClientPosition, Position};
use service::prefer::preference;
use service::problem::{Problem, ProblemBody};
use utoipa::{IntoParams, IntoResponses};

use crate::codes::MALFORMED_POSITION;
use crate::error::position_unknown;

/// Longest wait by default.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(2);
/// Longest wait that a client can prefer.
const MAX_WAIT_SECONDS: u64 = 10;
const AWAIT_POSITION: HeaderName = HeaderName::from_static("await-position");

/// The position that a read waits for.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct AwaitPosition {
    /// Log-Position of a write or a read that the answer must include, or several joined by commas
    #[param(
        rename = "Await-Position",
        value_type = String,
        required = false,
        pattern = r"^([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*(, *([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*)*$",
        example = "0:42"
    )]
    pub position: Option<ClientPosition>,
    /// wait=N: longest wait for Await-Position in seconds, at most 10; 2 by default. handling=lenient: pass over unknown
    /// parameters, instead of refusing them
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    pub timeout: Duration,
}

/// The log does not have the position, as after an import or a restore
#[derive(IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
pub struct PositionUnknown(pub ProblemBody);

/// Why no awaited position is read from the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Malformed,
    SeveralLogs,
}

impl AwaitPosition {
    fn from_headers(headers: &HeaderMap) -> Result<Self, Refused> {
        let mut awaited: Option<ClientPosition> = None;
        let mut are_of_one_log = true;
        for value in headers.get_all(AWAIT_POSITION) {
            for text in value.to_str().map_err(|_| Refused::Malformed)?.split(',') {
                let awaited = awaited.get_or_insert_default();
                let position: ClientPosition = text.trim().parse().map_err(|_| Refused::Malformed)?;
                are_of_one_log &= awaited.merge(&position).is_ok();
                // The bound of one position holds for several together, too.
                if awaited.position.partitions() > Position::MAX_PARTITIONS {
                    return Err(Refused::Malformed);
                }
            }
        }
        if !are_of_one_log {
            return Err(Refused::SeveralLogs);
        }
        // Otherwise the position of an answer, which covers what was awaited, could name more partitions than one may.
        if let Some(awaited) = &mut awaited {
            awaited.position.drop_empty_parts();
        }
        Ok(Self { position: awaited, timeout: preferred_wait(headers, MAX_WAIT_SECONDS).unwrap_or(DEFAULT_WAIT) })
    }
}

impl Refused {
    fn into_problem(self) -> Problem {
        match self {
            Self::Malformed => Problem::new(
                MALFORMED_POSITION,
                "Await-Position takes the unchanged value of a Log-Position header, or several joined by commas",
            ),
            // At most one of them is of this log.
            Self::SeveralLogs => position_unknown(),
        }
    }
}

/// The wait that a client prefers, at most `max_seconds`. Ignores a preference that is malformed, as RFC 7240 requires.
pub(crate) fn preferred_wait(headers: &HeaderMap, max_seconds: u64) -> Option<Duration> {
    let seconds = preference(headers, "wait")?;
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that does not fit is larger than any bound.
    let seconds = seconds.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds.min(max_seconds)))
}

impl<S: Sync> FromRequestParts<S> for AwaitPosition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers).map_err(Refused::into_problem)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PREFER: HeaderName = HeaderName::from_static("prefer");

    fn parse(headers: &[(HeaderName, &'static str)]) -> Result<AwaitPosition, Refused> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        AwaitPosition::from_headers(&map)
    }

    #[test]
    fn several_positions_are_merged() {
        let expected: ClientPosition = "0:7.1:2.3:1".parse().unwrap();
        for headers in
            [&[(AWAIT_POSITION, "0:7, 1:2,3:1")][..], &[(AWAIT_POSITION, "0:5.3:1"), (AWAIT_POSITION, "1:2,0:7")]]
        {
            assert_eq!(parse(headers).unwrap().position, Some(expected.clone()));
        }
        assert_eq!(parse(&[]).unwrap(), AwaitPosition { position: None, timeout: DEFAULT_WAIT });
    }

    #[test]
    fn partitions_of_which_nothing_is_awaited_are_left_out() {
        let position = parse(&[(AWAIT_POSITION, "0:0.1:2.7:0")]).unwrap().position;
        assert_eq!(position, Some("1:2".parse().unwrap()));
    }

    #[test]
    fn positions_of_several_logs_are_refused() {
        let marked = parse(&[(AWAIT_POSITION, "a1b2c3d4~0:7, a1b2c3d4~1:2,0:0")]).unwrap().position;
        assert_eq!(marked, Some("a1b2c3d4~0:7.1:2".parse().unwrap()));
        for value in ["a1b2c3d4~0:7,0:1", "0:1,a1b2c3d4~0:7,0:1", "a1b2c3d4~0:7,a1b2c3d5~0:1"] {
            assert_eq!(parse(&[(AWAIT_POSITION, value)]), Err(Refused::SeveralLogs), "{value}");
        }
    }

    #[test]
    fn other_text_is_malformed() {
        for value in ["", "x", "0:1,", "0", "0:1;1:1", "-1:1", "a1b2c3d~0:1", "a1b2c3d4~0:1,0:2,x"] {
            assert_eq!(parse(&[(AWAIT_POSITION, value)]), Err(Refused::Malformed), "{value:?}");
        }
    }

    #[test]
    fn several_positions_name_no_more_partitions_than_one() {
        let texts = |partitions: usize| (0..partitions).map(|id| format!("{id}:1")).collect::<Vec<_>>().join(",");
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AWAIT_POSITION, HeaderValue::from_str(text).unwrap());
            AwaitPosition::from_headers(&headers)
        };
        assert!(parse(&texts(Position::MAX_PARTITIONS)).is_ok());
        assert_eq!(parse(&texts(Position::MAX_PARTITIONS + 1)), Err(Refused::Malformed));
    }

    #[test]
    fn the_preferred_wait_is_bounded_and_malformed_preferences_are_ignored() {
        for (value, seconds) in [
            ("wait=5", 5),
            ("Wait=\"3\"; x=y", 3),
            ("respond-async, wait=1", 1),
            ("wait=0", 0),
            ("wait=4000", 10),
            ("wait=x", 2),
            ("wait", 2),
            ("waiting=5", 2),
            ("wait=+5", 2),
            ("wait=18446744073709551615", 10),
            ("wait=18446744073709551616", 10),
            ("wait=99999999999999999999999999", 10),
            ("foo=\"a,wait=0,b\"", 2),
        ] {
            assert_eq!(parse(&[(PREFER, value)]).unwrap().timeout, Duration::from_secs(seconds), "{value}");
        }
    }
}
