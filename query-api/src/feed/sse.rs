//! The feed as server-sent events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! An event has an `id`, its position, and no name, so that a browser's `onmessage` sees it whatever its type is. `ready` and `end` have a name.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::time::Duration;

use access::Refusal;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use events::{LogMark, Position};
use futures_util::stream;
use read_model::FeedEvent;
use service::codes::DRAINING;
use service::streams::{HeldBytes, StreamPlace};
use tokio::time::Instant;

use super::bounds::PrincipalPlace;
use super::follower::Told;
use super::item::{Item, position_text};
use super::listener::{End, Listener, News};
use crate::error::ApiError;

/// A comment is sent after so much silence, so that proxies and clients see that the connection lives.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// The codes that only a stream ends with. They are no refusals, and so have no status; the others are those of refusals.
const TOO_SLOW: &str = "too-slow";
const REVOKED: &str = "revoked";
/// A client whose connection ends waits so long before it comes back. Each gets another time, so that not all come at once.
const RETRY_MS: RangeInclusive<u32> = 1_000..=3_000;

/// hyper takes no further frame while it has so many that are yet to be written, or so many bytes.
const MAX_UNWRITTEN_FRAMES: usize = 16;
const MAX_UNWRITTEN_BYTES: usize = 8 * 1024 + 100 * 4096;

pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// nginx and others collect an answer before they pass it on, unless it says this.
const BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// The places that a stream has.
pub(super) struct Places {
    pub(super) _stream: StreamPlace,
    pub(super) _principal: PrincipalPlace,
}

struct Stream {
    listener: Listener,
    /// That of the log.
    mark: Option<LogMark>,
    held: HeldBytes,
    unwritten: Unwritten,
    stage: Stage,
    _places: Places,
}

/// The bytes of the latest frames that only this stream keeps: those of a live event belong to all who listen.
#[derive(Debug, Default)]
struct Unwritten(VecDeque<usize>);

enum Stage {
    New,
    Open { last_sent: Instant },
    Ended,
}

/// Answers with what the listener tells, until its end.
pub(super) fn respond(listener: Listener, mark: Option<LogMark>, places: Places) -> Response {
    let held = HeldBytes::default();
    let stream = Stream {
        listener,
        mark,
        held: held.clone(),
        unwritten: Unwritten::default(),
        stage: Stage::New,
        _places: places,
    };
    let frames = stream::unfold(stream, async |mut stream| {
        let (frame, own_bytes) = stream.next_frame().await?;
        stream.held.set(stream.unwritten.add(own_bytes));
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let headers = [(CONTENT_TYPE, EVENT_STREAM), (CACHE_CONTROL, NO_STORE), BUFFERING];
    held.mark((headers, Body::from_stream(frames)).into_response())
}

impl Stream {
    /// The next frame, and how many of its bytes only this stream keeps.
    async fn next_frame(&mut self) -> Option<(Bytes, usize)> {
        let last_sent = match self.stage {
            Stage::New => {
                self.stage = Stage::Open { last_sent: Instant::now() };
                return Some(own(ready_frame(self.mark, self.listener.position(), rand::random_range(RETRY_MS))));
            }
            Stage::Open { last_sent } => last_sent,
            Stage::Ended => return None,
        };
        let (frame, stage) = match self.listener.next(last_sent + COMMENT_INTERVAL).await {
            News::Told(told @ Told::Live(_)) => ((told.frame(self.mark), 0), Stage::Open { last_sent: Instant::now() }),
            News::Told(told) => (own(told.frame(self.mark)), Stage::Open { last_sent: Instant::now() }),
            News::Nothing => ((COMMENT, 0), Stage::Open { last_sent: Instant::now() }),
            News::Ended(end) => (own(end_frame(end)), Stage::Ended),
        };
        self.stage = stage;
        Some(frame)
    }
}

impl Unwritten {
    /// Adds the bytes of a frame. Returns how many there may be yet to be written.
    fn add(&mut self, bytes: usize) -> usize {
        // hyper asked for this frame: so it had room.
        let earlier = self.0.iter().sum::<usize>().min(MAX_UNWRITTEN_BYTES);
        if self.0.len() == MAX_UNWRITTEN_FRAMES - 1 {
            self.0.pop_front();
        }
        self.0.push_back(bytes);
        earlier + bytes
    }
}

/// A frame that only this stream keeps.
fn own(frame: Bytes) -> (Bytes, usize) {
    let bytes = frame.len();
    (frame, bytes)
}

fn ready_frame(mark: Option<LogMark>, position: &Position, retry_ms: u32) -> Bytes {
    let position = position_text(mark, position);
    format!("retry: {retry_ms}\nevent: ready\nid: {position}\ndata: {{\"position\":\"{position}\"}}\n\n").into()
}

pub(super) fn write_event(text: &mut Vec<u8>, event: &FeedEvent, mark: Option<LogMark>, position: &Position) {
    text.extend_from_slice(format!("id: {}\ndata: ", position_text(mark, position)).as_bytes());
    Item::new(event, mark, position).write_to(text);
    text.extend_from_slice(b"\n\n");
}

pub(super) fn event_frame(event: &FeedEvent, mark: Option<LogMark>, position: &Position) -> Bytes {
    let mut text = Vec::new();
    write_event(&mut text, event, mark, position);
    text.into()
}

fn end_frame(end: End) -> Bytes {
    let (code, detail) = describe(end);
    let data = serde_json::json!({ "code": code, "detail": detail });
    format!("event: end\ndata: {data}\n\n").into()
}

fn describe(end: End) -> (&'static str, String) {
    match end {
        End::Draining => (DRAINING.name, "this process is stopping; follow on from the last id".to_owned()),
        End::TooSlow => {
            (TOO_SLOW, "more events have come than wait for a slow reader; follow on from the last id".to_owned())
        }
        End::Refused(Refusal::CredentialInvalid) => (REVOKED, "the credential was revoked".to_owned()),
        End::Refused(refusal) => {
            let problem = refusal.into_problem();
            (problem.code().name, problem.detail().to_owned())
        }
        End::Failed(error) => {
            let problem = ApiError::Query(error).into_problem();
            (problem.code().name, problem.detail().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Bytes) -> String {
        String::from_utf8(frame.to_vec()).unwrap()
    }

    #[test]
    fn the_first_frame_says_from_where_on_events_come() {
        let frame = text(&ready_frame(None, &"0:7.1:2".parse().unwrap(), 1_234));
        assert_eq!(frame, "retry: 1234\nevent: ready\nid: 0:7.1:2\ndata: {\"position\":\"0:7.1:2\"}\n\n");
        let of_nothing = text(&ready_frame("a1b2c3d4".parse().ok(), &Position::default(), 1_000));
        assert!(of_nothing.contains("\nid: a1b2c3d4~0:0\n"), "a position always has a text: {of_nothing}");
    }

    #[test]
    fn unread_frames_count_as_long_as_they_may_be_unwritten() {
        let mut unwritten = Unwritten::default();
        for frames in 1..=MAX_UNWRITTEN_FRAMES {
            assert_eq!(unwritten.add(1_000), 1_000 * frames);
        }
        assert_eq!(unwritten.add(1_000), 1_000 * MAX_UNWRITTEN_FRAMES, "the first was written");
        assert_eq!(unwritten.add(0), 1_000 * (MAX_UNWRITTEN_FRAMES - 1));
        assert_eq!(unwritten.add(1 << 20), 1_000 * (MAX_UNWRITTEN_FRAMES - 2) + (1 << 20));
        assert_eq!(unwritten.add(1 << 20), MAX_UNWRITTEN_BYTES + (1 << 20), "hyper had room for a page");
        for _ in 1..MAX_UNWRITTEN_FRAMES {
            unwritten.add(0);
        }
        assert_eq!(unwritten.add(0), 0);
    }

    #[test]
    fn the_last_frame_says_why_the_stream_ends() {
        for (end, code) in [
            (End::Draining, "draining"),
            (End::TooSlow, "too-slow"),
            (End::Refused(Refusal::CredentialExpired), "token-expired"),
            (End::Refused(Refusal::CredentialInvalid), "revoked"),
            (End::Refused(Refusal::Behind), "access-behind"),
        ] {
            let frame = text(&end_frame(end));
            let data = frame.strip_prefix("event: end\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["code"], code);
            assert!(data["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{data}");
        }
    }
}
