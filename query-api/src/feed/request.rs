//! What a request for the feed asks for.

use std::time::Duration;

use access::Principal;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderName};
use axum::http::request::Parts;
use events::{ApplicationToken, ChatNumber, ClientPosition};
use read_model::FeedSelection;
use serde::Deserialize;
use service::problem::Problem;
use utoipa::IntoParams;

use crate::await_position::{AwaitPosition, DEFAULT_WAIT, preferred_wait};
use crate::codes::MALFORMED_POSITION;
use crate::error::ApiError;
use crate::paging::parse_limit;
use crate::queries::{CHAT, QueryError};

/// Most chats that a request may name.
const MAX_CHATS: usize = 100;
/// Longest wait for an event that a client can prefer.
const MAX_WAIT_SECONDS: u64 = 30;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EARLIEST: &str = "earliest";
const LATEST: &str = "latest";

/// The query parameters of the feed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EventsQuery {
    pub(super) after: Option<String>,
    pub(super) limit: Option<String>,
    pub(super) chats: Option<String>,
}

/// Describes the parameters of the feed for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the handler reads EventsQuery")]
pub(super) struct EventsParameters {
    /// A position of an event, or Log-Position of events, of a message, of a list of messages or of a write: only what it does not cover.
    /// Or earliest, the beginning, which is the default for JSON; or latest, from now on, which is the default for a stream
    #[param(
        pattern = r"^(earliest|latest|([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*)$",
        example = "earliest"
    )]
    after: Option<String>,
    /// Maximum number of events; for JSON alone
    #[param(minimum = 1, maximum = 1000, default = 1000, example = 100)]
    limit: Option<u32>,
    /// Only events of these chats: their numbers, at most 100, joined by commas
    #[param(pattern = "^[1-9][0-9]{0,9}(,[1-9][0-9]{0,9}){0,99}$", example = "1")]
    chats: Option<String>,
}

/// The headers of a request for the feed.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct FeedHeaders {
    /// Whether the answer is a stream of server-sent events.
    #[param(ignore)]
    pub(super) form: Form,
    /// What `views` must have passed, beside the position from which on events are told: Log-Position of a write or a read, or several
    /// joined by commas
    #[param(
        rename = "Await-Position",
        value_type = String,
        required = false,
        pattern = r"^([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*(, *([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*)*$",
        example = "0:42"
    )]
    pub(super) awaited: Option<ClientPosition>,
    /// Of a stream: the id of the last event that was received, as a browser sends it. It wins over after
    #[param(
        rename = "Last-Event-ID",
        value_type = String,
        required = false,
        pattern = r"^([0-9a-f]{8}~)?[0-9]{1,4}:[0-9]{1,18}(\.[0-9]{1,4}:[0-9]{1,18})*$",
        example = "0:42"
    )]
    pub(super) last_event_id: Option<String>,
    /// wait=N: longest wait for an event in seconds if there is none yet, at most 30; for JSON alone. handling=lenient: pass over unknown
    /// parameters, instead of refusing them
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=30")]
    pub(super) wait: Duration,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON array.
    Json,
    /// Server-sent events.
    Stream,
}

/// From where on events are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Earliest,
    Latest,
    After(ClientPosition),
}

impl<S: Sync> FromRequestParts<S> for FeedHeaders {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AwaitPosition { position: awaited, .. } = AwaitPosition::from_request_parts(parts, state).await?;
        let headers = &parts.headers;
        let last_event_id = last_event_id(headers)?;
        let wait = preferred_wait(headers, MAX_WAIT_SECONDS).unwrap_or_default();
        Ok(Self { form: Form::of(headers), awaited, last_event_id, wait })
    }
}

/// Two are refused, as two `after` are: the server cannot know from which of them the client goes on.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(LAST_EVENT_ID).into_iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Problem::new(MALFORMED_POSITION, "Last-Event-ID may be sent once"));
    }
    let text = first.map(|value| value.to_str().map_err(|_| malformed_position("Last-Event-ID")));
    Ok(text.transpose()?.map(str::to_owned))
}

impl Form {
    /// The form that the client accepts more readily; JSON if it does not say.
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = values.flat_map(|value| value.split(',')).map(parse_range).collect();
        let quality = |name: &str| {
            let of_name = ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name));
            of_name.map(|(_, quality)| *quality).fold(0.0, f32::max)
        };
        let stream = quality("text/event-stream");
        if stream > 0.0 && stream >= quality("application/json") { Self::Stream } else { Self::Json }
    }
}

/// A media range of Accept and its quality.
fn parse_range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let parameters = parts.filter_map(|parameter| parameter.split_once('='));
    let quality =
        parameters.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| name.eq_ignore_ascii_case("q"));
    (range, quality.map_or(1.0, |(_, quality)| quality.parse().unwrap_or(0.0)))
}

fn malformed_position(what: &str) -> Problem {
    let detail = format!("{what} takes the unchanged id of an event or value of a Log-Position header");
    Problem::new(MALFORMED_POSITION, detail)
}

impl Start {
    /// `Last-Event-ID` wins: a browser sends it with the URL that the page gave.
    pub(super) fn parse(query: &EventsQuery, headers: &FeedHeaders) -> Result<Self, ApiError> {
        let last_event_id = headers.last_event_id.as_deref().filter(|_| headers.form == Form::Stream);
        match (last_event_id, query.after.as_deref(), headers.form) {
            (Some(id), _, _) => parse_position(id).ok_or_else(|| malformed_position("Last-Event-ID").into()),
            (None, Some(EARLIEST), _) | (None, None, Form::Json) => Ok(Self::Earliest),
            (None, Some(LATEST), _) | (None, None, Form::Stream) => Ok(Self::Latest),
            (None, Some(after), _) => parse_position(after)
                .ok_or_else(|| ApiError::Malformed(format!("after must be a position, {EARLIEST} or {LATEST}"))),
        }
    }

    /// What `views` must have passed before anything is told: also what the request awaits.
    ///
    /// # Errors
    /// If that is of another log: at most one of both is of this one.
    pub(super) fn awaited(&self, awaited: Option<ClientPosition>) -> Result<AwaitPosition, QueryError> {
        let position = match (self, awaited) {
            (Self::After(after), Some(mut awaited)) => {
                awaited.merge(after).map_err(|_several_logs| QueryError::PositionUnknown)?;
                Some(awaited)
            }
            (Self::After(after), None) => Some(after.clone()),
            (Self::Earliest | Self::Latest, awaited) => awaited,
        };
        Ok(AwaitPosition { position, timeout: DEFAULT_WAIT })
    }
}

/// The one place where a position of the feed is read.
fn parse_position(text: &str) -> Option<Start> {
    let mut after: ClientPosition = text.trim().parse().ok()?;
    after.position.drop_empty_parts();
    Some(Start::After(after))
}

impl EventsQuery {
    /// The most events of an answer in JSON.
    pub(super) fn limit(&self, form: Form) -> Result<u32, ApiError> {
        if form == Form::Stream && self.limit.is_some() {
            return Err(ApiError::Malformed("a stream takes no limit".to_owned()));
        }
        parse_limit(self.limit.as_deref())
    }

    /// The chats that the request names, in order.
    pub(super) fn chats(&self) -> Result<Option<Box<[ChatNumber]>>, ApiError> {
        let Some(text) = &self.chats else {
            return Ok(None);
        };
        let malformed = || ApiError::Malformed(format!("chats must be 1 to {MAX_CHATS} numbers, joined by commas"));
        let mut chats = Vec::new();
        for number in text.split(',') {
            if chats.len() == MAX_CHATS {
                return Err(malformed());
            }
            chats.push(number.parse().map_err(|_| malformed())?);
        }
        chats.sort_unstable();
        chats.dedup();
        Ok(Some(chats.into()))
    }
}

/// What a principal is told of an application: all that it may see, or only of the chats that it names. A chat that its token does not list
/// is unknown.
pub(super) fn select(
    principal: &Principal,
    token: ApplicationToken,
    named: Option<Box<[ChatNumber]>>,
) -> Result<FeedSelection, QueryError> {
    let listed = principal.listed_chats();
    let Some(named) = named else {
        return Ok(FeedSelection { token, application: true, chats: listed.map(Into::into) });
    };
    let is_hidden = |chat: &ChatNumber| listed.is_some_and(|listed| listed.binary_search(chat).is_err());
    if named.iter().any(is_hidden) {
        return Err(CHAT);
    }
    Ok(FeedSelection { token, application: false, chats: Some(named) })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn form(accept: &[&'static str]) -> Form {
        Form::of(&accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn a_stream_is_answered_to_whoever_asks_for_it() {
        for accept in [
            &["text/event-stream"][..],
            &["Text/Event-Stream; charset=utf-8"],
            &["text/event-stream, */*;q=0.1"],
            &["application/json;q=0.5", "text/event-stream;q=0.5"],
        ] {
            assert_eq!(form(accept), Form::Stream, "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/*"],
            &["application/json"],
            &["text/event-stream;q=0"],
            &["text/event-stream;q=x"],
            &["text/event-stream; q = 0"],
            &["text/event-stream;Q\t=0"],
            &["application/json, text/event-stream;q=0.9"],
        ] {
            assert_eq!(form(accept), Form::Json, "{accept:?}");
        }
    }

    #[test]
    fn a_last_event_id_is_sent_once() {
        let id = |values: &[&'static str]| {
            last_event_id(&values.iter().map(|value| (LAST_EVENT_ID, HeaderValue::from_static(value))).collect())
        };
        assert_eq!(id(&[]).unwrap(), None);
        assert_eq!(id(&["0:24"]).unwrap().as_deref(), Some("0:24"));
        for values in [&["0:24", "0:99"][..], &["0:24", "0:24"], &["0:24", ""]] {
            assert!(id(values).is_err(), "{values:?}");
        }
    }

    fn start(form: Form, last_event_id: Option<&str>, after: Option<&str>) -> Option<Start> {
        let query = EventsQuery { after: after.map(str::to_owned), ..EventsQuery::default() };
        let last_event_id = last_event_id.map(str::to_owned);
        Start::parse(&query, &FeedHeaders { form, awaited: None, last_event_id, wait: Duration::ZERO }).ok()
    }

    #[test]
    fn history_is_told_from_the_beginning_and_a_stream_from_now_on() {
        let after = |text: &str| Some(Start::After(text.parse().unwrap()));
        for (form, id, sent, expected) in [
            (Form::Json, None, None, Some(Start::Earliest)),
            (Form::Stream, None, None, Some(Start::Latest)),
            (Form::Stream, None, Some("earliest"), Some(Start::Earliest)),
            (Form::Json, None, Some("latest"), Some(Start::Latest)),
            (Form::Json, None, Some("0:3.1:0"), after("0:3")),
            (Form::Json, None, Some("a1b2c3d4~0:3"), after("a1b2c3d4~0:3")),
            (Form::Stream, Some("0:5"), Some("0:3"), after("0:5")),
            (Form::Stream, Some("0:5"), Some("latest"), after("0:5")),
            (Form::Json, Some("0:5"), Some("0:3"), after("0:3")),
            (Form::Stream, Some("x"), Some("0:3"), None),
            (Form::Stream, Some(""), None, None),
            (Form::Json, None, Some(""), None),
            (Form::Json, None, Some("7"), None),
        ] {
            assert_eq!(start(form, id, sent), expected, "{form:?} {id:?} {sent:?}");
        }
    }

    #[test]
    fn a_position_is_awaited_with_those_of_the_header() {
        let awaited = |position: Option<&str>| position.map(|text| text.parse().unwrap());
        let of = |start: Start, header| {
            let wait = start.awaited(awaited(header)).ok()?;
            wait.position.map(|position| position.to_string())
        };
        let after = || Start::After("0:3".parse().unwrap());
        assert_eq!(of(after(), None).as_deref(), Some("0:3"));
        assert_eq!(of(after(), Some("0:2.1:7")).as_deref(), Some("0:3.1:7"));
        assert_eq!(of(Start::Latest, Some("1:7")).as_deref(), Some("1:7"));
        assert_eq!(of(Start::Earliest, None), None);
        let of_other = after().awaited(awaited(Some("a1b2c3d4~0:2")));
        assert!(matches!(of_other, Err(QueryError::PositionUnknown)), "{of_other:?}");
    }

    #[test]
    fn chats_are_numbers_each_once() {
        let chats = |text: &str| EventsQuery { chats: Some(text.to_owned()), ..EventsQuery::default() }.chats();
        let numbers: Vec<_> = chats("7,2,7").unwrap().unwrap().iter().map(|chat| chat.get()).collect();
        assert_eq!(numbers, [2, 7]);
        let many = |count: u32| (1..=count).map(|chat| chat.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(chats(&many(100)).unwrap().unwrap().len(), 100);
        for text in ["", "0", "1,", "1, 2", "x", "01", &many(101)] {
            assert!(chats(text).is_err(), "{text:.20}");
        }
    }
}
