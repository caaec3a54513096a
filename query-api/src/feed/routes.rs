//! The route of the feed.

use access::Principal;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use events::{ClientPosition, Position};
use service::path::Path;
use service::problem::ProblemBody;
use service::query::Query;
use service::request_wait::RequestWait;
use service::responses::{MalformedHead, NotFound, NotModified, Unavailable};
use utoipa::IntoResponses;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::FeedQueries;
use super::follower::{Follower, PAGE_EVENTS};
use super::item::Item;
use super::listener::Listener;
use super::long_poll::{self, Poll};
use super::request::{EventsParameters, EventsQuery, FeedHeaders, Form, Start, select};
use super::sse::{self, Places};
use crate::await_position::PositionUnknown;
use crate::error::ApiError;
use crate::queries::{QueryError, VIEWS};
use crate::routes::TokenPath;

/// Adds the route.
pub(crate) fn routes(feed: FeedQueries) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(events)).with_state(feed)
}

/// The credential, or its application, has as many streams and waiting requests as it may have
#[derive(IntoResponses)]
#[response(status = 429, content_type = "application/problem+json")]
#[expect(dead_code, reason = "it describes an answer for OpenAPI")]
pub(super) struct TooManyStreams(ProblemBody);

/// What happens in an application: all that the credential may see, each event once, from any position on
///
/// With `Accept: text/event-stream` it is a stream of server-sent events that goes on until either side ends it. Each has its position as
/// `id` and the same JSON as `data`. The first is `ready`, with the position from which on events are told; before the server closes the
/// stream it sends `end`, with a `code`.
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/events",
    operation_id = "listEvents",
    tag = "events",
    params(TokenPath, EventsParameters, FeedHeaders),
    responses(
        (
            status = 200,
            description = "The events, in the order of each chat; or a stream of them, where Accept asks for text/event-stream",
            content(
                (Vec<Item> = "application/json"),
                (String = "text/event-stream", example = "retry: 1734\nevent: ready\nid: 0:42\ndata: {\"position\":\"0:42\"}\n\n")
            ),
            headers(
                ("Link" = Option<String>, description = "Of JSON: the next events, with rel=next, while there are more: a reference relative to the request's URL"),
                ("Log-Position" = String, description = "Of JSON: what was told. Send it as after, to be told what follows")
            )
        ),
        NotModified,
        MalformedHead,
        NotFound,
        PositionUnknown,
        TooManyStreams,
        Unavailable
    )
)]
async fn events(
    State(feed): State<FeedQueries>,
    principal: Principal,
    asked: FeedHeaders,
    headers: HeaderMap,
    (uri, request_wait): (Uri, RequestWait),
    Path(TokenPath { token }): Path<TokenPath>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
    let start = Start::parse(&query, &asked)?;
    let (limit, named) = (query.limit(asked.form)?, query.chats()?);
    let selection = select(&principal, token, named)?;
    let admission = feed.authority.admission_of(principal, &headers);
    match asked.form {
        Form::Json => {
            let after = feed.begin(&start, asked.awaited).await?;
            let poll = Poll { selection, after, limit, wait: asked.wait, request_wait };
            let page = feed.long_polls.poll(&poll, admission).await?;
            let mark = feed.reader.log_mark().await?;
            Ok(long_poll::respond(uri.path(), &query, mark, poll.after, page))
        }
        Form::Stream => {
            // Before anything is read: whoever is refused has cost nothing.
            let principal = feed.listeners.take_of(admission.principal())?;
            let places = Places { _stream: feed.listeners.take_stream()?, _principal: principal };
            let after = feed.begin(&start, asked.awaited).await?;
            let page = feed.reader.read_first(&selection, &after, PAGE_EVENTS).await?;
            let mark = feed.reader.log_mark().await?;
            let follower = Follower::new(feed.reader.clone(), selection, after, page);
            Ok(sse::respond(Listener::new(follower, admission, feed.stop.clone()), mark, places))
        }
    }
}

impl FeedQueries {
    /// Waits until `views` has what the request names, and returns the position from which on events are told.
    async fn begin(&self, start: &Start, awaited: Option<ClientPosition>) -> Result<Position, QueryError> {
        self.queries.await_projections(&VIEWS, &start.awaited(awaited)?).await?;
        match start {
            Start::Earliest => Ok(Position::default()),
            Start::After(after) => Ok(after.position.clone()),
            Start::Latest => self.reader.feed.end().await.map_err(QueryError::Feed),
        }
    }
}
