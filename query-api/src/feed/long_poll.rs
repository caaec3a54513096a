//! The feed as a JSON array, perhaps after a wait.

use std::time::Duration;

use access::Admission;
use axum::http::header::{CONTENT_TYPE, HeaderValue, LINK};
use axum::response::{IntoResponse, Response};
use events::{ClientPosition, LogMark, Position};
use form_urlencoded::Serializer;
use read_model::{FeedPage, FeedSelection};
use service::request_wait::RequestWait;
use service::wait_limit::WaitLimit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bounds::ListenerBounds;
use super::follower::{Follower, ToldPage};
use super::item::Item;
use super::listener::{End, Listener, News};
use super::reader::FeedReader;
use super::request::EventsQuery;
use crate::error::ApiError;
use crate::log_position::log_position;
use crate::queries::QueryError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a client polls for.
pub(super) struct Poll {
    pub(super) selection: FeedSelection,
    pub(super) after: Position,
    pub(super) limit: u32,
    pub(super) wait: Duration,
    /// Ends the request if its client goes while it waits.
    pub(super) request_wait: RequestWait,
}

/// Answers in JSON. Clones share the bounds.
#[derive(Clone)]
pub(super) struct LongPolls {
    reader: FeedReader,
    listeners: ListenerBounds,
    /// Bounds those that wait.
    waits: WaitLimit,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

impl LongPolls {
    pub(super) fn new(reader: FeedReader, listeners: ListenerBounds, stop: CancellationToken) -> Self {
        let waits = WaitLimit::new(listeners.max_long_polls());
        Self { reader, listeners, waits, stop }
    }

    /// Returns the events behind a position. If there are none, waits for the first.
    pub(super) async fn poll(&self, poll: &Poll, admission: Admission) -> Result<FeedPage, ApiError> {
        let Poll { selection, after, limit, wait, request_wait } = poll;
        let page = self.reader.read_first(selection, after, *limit).await?;
        if !page.events.is_empty() || wait.is_zero() {
            return Ok(page);
        }
        let _places = self.listeners.take_long_poll_of(admission.principal())?;
        let _waiting = request_wait.begin();
        let follower = Follower::new(self.reader.clone(), selection.clone(), after.clone(), page);
        let mut listener = Listener::new(follower, admission, self.stop.clone());
        // Whoever is displaced has waited the longest. The answer tells that nothing has happened, and the client asks again.
        let news = self.waits.run(listener.next(Instant::now() + *wait)).await.unwrap_or(News::Nothing);
        match news {
            News::Told(_) | News::Ended(End::TooSlow) => Ok(self.reader.read_again(selection, after, *limit).await?),
            News::Nothing => Ok(FeedPage { events: Vec::new(), next: listener.position().clone(), more: false }),
            News::Ended(End::Draining) => Err(QueryError::Draining.into()),
            News::Ended(End::Refused(refusal)) => Err(ApiError::Refused(refusal)),
            News::Ended(End::Failed(error)) => Err(error.into()),
        }
    }
}

/// Answers with a page that was read behind `after` in the log with this mark. `path` is the request's path.
pub(super) fn respond(
    path: &str,
    query: &EventsQuery,
    mark: Option<LogMark>,
    after: Position,
    page: FeedPage,
) -> Response {
    let mut end = ClientPosition { mark, position: after.clone() };
    end.position.merge(&page.next);
    let next = page.more.then(|| link_to_next(path, query, &end));
    let link = next.and_then(|link| HeaderValue::try_from(link).ok()).map(|link| [(LINK, link)]);
    let mut text = b"[".to_vec();
    ToldPage::new(after, page.events).each(|event, position| {
        if text.len() > 1 {
            text.push(b',');
        }
        Item::new(event, mark, position).write_to(&mut text);
    });
    text.extend_from_slice(b"]\n");
    ([(CONTENT_TYPE, JSON)], link, log_position(&end), text).into_response()
}

/// Relative to the request's URL, as the Links of lists are.
fn link_to_next(path: &str, query: &EventsQuery, end: &ClientPosition) -> String {
    let mut link = Serializer::new(String::new());
    let repeated = [("chats", &query.chats), ("limit", &query.limit)];
    link.extend_pairs(repeated.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    link.append_pair("after", &end.to_string());
    format!("<{}?{}>; rel=\"next\"", path.rsplit('/').next().unwrap_or_default(), link.finish())
}
