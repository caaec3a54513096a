//! The routes of the read API.

use axum::extract::State;
use axum::http::{Method, Uri};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{ApplicationView, ChatView, MessageView, SearchPage, SearchText};
use serde::Deserialize;
use service::config::HttpArgs;
use service::host::Port;
use service::path::{Path, parse};
use service::query::{NoParameters, Query};
use service::responses::{Malformed, NotFound, NotModified, Unavailable};
use service::router::OtherPort;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::await_position::{AwaitPosition, PositionUnknown};
use crate::error::ApiError;
use crate::log_position::ItemResponse;
use crate::paging::{LimitQuery, ListParameters, ListRequest, ListResponse, NumberCursorQuery, TokenCursorQuery};
use crate::queries::Queries;

/// The routes of the write API.
const WRITE_PORT: OtherPort = OtherPort {
    hint: "Writes are answered on the write port (8080 by default).",
    routes: &[
        ("/api/v1/chat_applications", &[Method::POST]),
        ("/api/v1/chat_applications/{token}", &[Method::PUT, Method::PATCH]),
        ("/api/v1/chat_applications/{token}/chats", &[Method::POST]),
        ("/api/v1/chat_applications/{token}/chats/{chat}/messages", &[Method::POST]),
    ],
};

pub fn port(http: &HttpArgs) -> Port {
    Port {
        name: "read",
        other_port: WRITE_PORT,
        cors_origins: http.cors.cors_origins.clone(),
        hosts: http.hosts.hosts.clone(),
        ignored_parts: &[],
        idle_timeout: http.connections.idle_timeout(),
    }
}

/// Longest search text after folding, which replaces some characters by up to 18.
const MAX_FOLDED_CHARACTERS: usize = 3_000;
/// Longest search text in characters (Unicode scalar values).
const MAX_SEARCH_CHARACTERS: usize = 1_000;

/// Each path parameter has a type of its own, so that it is described once, where it is parsed. A handler extracts the
/// parameters of its path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// The application
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$")]
    #[serde(deserialize_with = "parse")]
    token: ApplicationToken,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ChatPath {
    /// The chat's number
    #[param(value_type = u32, minimum = 1)]
    #[serde(deserialize_with = "parse")]
    chat: ChatNumber,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct MessagePath {
    /// The message's number
    #[param(value_type = u32, minimum = 1)]
    #[serde(deserialize_with = "parse")]
    message: MessageNumber,
}

/// The query parameters of a list. Each list has a struct of its own, whose fields are all the parameters that it takes.
#[derive(Deserialize)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
}

#[derive(Deserialize)]
struct MessagesQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
}

#[derive(Deserialize)]
struct SearchQuery {
    q: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
}

impl From<ListQuery> for ListParameters {
    fn from(ListQuery { limit, after, before }: ListQuery) -> Self {
        Self { limit, after, before, ..Self::default() }
    }
}

impl From<MessagesQuery> for ListParameters {
    fn from(MessagesQuery { limit, after, before, order }: MessagesQuery) -> Self {
        Self { limit, after, before, order, q: None }
    }
}

impl From<SearchQuery> for ListParameters {
    fn from(SearchQuery { q, limit, after, before }: SearchQuery) -> Self {
        Self { limit, after, before, order: None, q }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tally: read API",
        description = "Lists, counts and search, made from the event log a moment after each write. To be sure to see a write, \
                       or not to see less than a read has shown, send its Log-Position as Await-Position."
    ),
    // utoipa does not find the schemas below a response type of our own.
    components(schemas(ApplicationView, ChatView, MessageView))
)]
struct Description;

pub fn routes(queries: Queries) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(applications))
        .routes(routes!(application))
        .routes(routes!(chats))
        .routes(routes!(chat))
        .routes(routes!(messages))
        .routes(routes!(search))
        .routes(routes!(message))
        .with_state(queries)
}

/// Applications by token
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications",
    tag = "applications",
    params(LimitQuery, TokenCursorQuery, AwaitPosition),
    responses(ListResponse<ApplicationView>, NotModified, Malformed, PositionUnknown, Unavailable)
)]
async fn applications(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Query(parameters): Query<ListQuery>,
) -> Result<ListResponse<ApplicationView>, ApiError> {
    let list = ListRequest::parse(&parameters.into())?;
    Ok(list.respond(uri.path(), queries.applications(&wait, list.page).await?))
}

/// One application
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    params(TokenPath, AwaitPosition),
    responses(
        ItemResponse<ApplicationView>,
        NotModified,
        Malformed,
        NotFound,
        PositionUnknown,
        Unavailable
    )
)]
async fn application(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    Path(TokenPath { token }): Path<TokenPath>,
    _: Query<NoParameters>,
) -> Result<ItemResponse<ApplicationView>, ApiError> {
    Ok(queries.application(&wait, token).await?.into())
}

/// Chats of an application by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats",
    tag = "chats",
    params(TokenPath, LimitQuery, NumberCursorQuery, AwaitPosition),
    responses(ListResponse<ChatView>, NotModified, Malformed, NotFound, PositionUnknown, Unavailable)
)]
async fn chats(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Query(parameters): Query<ListQuery>,
) -> Result<ListResponse<ChatView>, ApiError> {
    let list = ListRequest::parse(&parameters.into())?;
    Ok(list.respond(uri.path(), queries.chats(&wait, token, list.page).await?))
}

/// One chat
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}",
    tag = "chats",
    params(TokenPath, ChatPath, AwaitPosition),
    responses(
        ItemResponse<ChatView>,
        NotModified,
        Malformed,
        NotFound,
        PositionUnknown,
        Unavailable
    )
)]
async fn chat(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    _: Query<NoParameters>,
) -> Result<ItemResponse<ChatView>, ApiError> {
    Ok(queries.chat(&wait, ChatKey { token, number: chat }).await?.into())
}

/// Messages of a chat by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages",
    tag = "messages",
    params(
        TokenPath,
        ChatPath,
        LimitQuery,
        NumberCursorQuery,
        ("order" = Option<String>, Query, description = "asc (the default) or desc", pattern = "^(asc|desc)$"),
        AwaitPosition
    ),
    responses(ListResponse<MessageView>, NotModified, Malformed, NotFound, PositionUnknown, Unavailable)
)]
async fn messages(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Query(parameters): Query<MessagesQuery>,
) -> Result<ListResponse<MessageView>, ApiError> {
    let list = ListRequest::parse(&parameters.into())?;
    Ok(list.respond(uri.path(), queries.messages(&wait, ChatKey { token, number: chat }, list.page).await?))
}

/// One message
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}",
    tag = "messages",
    params(TokenPath, ChatPath, MessagePath, AwaitPosition),
    responses(
        ItemResponse<MessageView>,
        NotModified,
        Malformed,
        NotFound,
        PositionUnknown,
        Unavailable
    )
)]
async fn message(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Path(MessagePath { message }): Path<MessagePath>,
    _: Query<NoParameters>,
) -> Result<ItemResponse<MessageView>, ApiError> {
    Ok(queries.message(&wait, ChatKey { token, number: chat }, message).await?.into())
}

/// Messages of a chat that contain a text, by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search",
    tag = "messages",
    params(
        TokenPath,
        ChatPath,
        ("q" = String, Query, description = "The text to search for, whatever its case, accents and compatibility forms",
            min_length = 1, max_length = 1000),
        LimitQuery,
        NumberCursorQuery,
        AwaitPosition
    ),
    responses(ListResponse<MessageView>, NotModified, Malformed, NotFound, PositionUnknown, Unavailable)
)]
async fn search(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Query(parameters): Query<SearchQuery>,
) -> Result<ListResponse<MessageView>, ApiError> {
    let parameters = ListParameters::from(parameters);
    let list = ListRequest::parse(&parameters)?;
    let text = parse_search_text(parameters.q.as_deref())?;
    let found = queries.search(&wait, ChatKey { token, number: chat }, &text, list.page).await?;
    let SearchPage { items, examined_to } = found.value;
    Ok(list.respond_up_to(uri.path(), items, examined_to, found.position))
}

fn parse_search_text(q: Option<&str>) -> Result<SearchText, ApiError> {
    let malformed = |detail: &str| ApiError::Malformed(detail.to_owned());
    let q = q.ok_or_else(|| malformed("q is missing: it is the text to search for"))?;
    if q.chars().count() > MAX_SEARCH_CHARACTERS {
        return Err(ApiError::Malformed(format!("q must have at most {MAX_SEARCH_CHARACTERS} characters")));
    }
    if q.contains('\0') {
        return Err(malformed("q can't contain the character U+0000"));
    }
    let text = SearchText::new(q);
    if text.as_ref().is_some_and(|text| text.longest_folded() > MAX_FOLDED_CHARACTERS) {
        return Err(ApiError::Malformed(format!(
            "q must have at most {MAX_FOLDED_CHARACTERS} characters once ligatures and other compatibility forms are decomposed"
        )));
    }
    text.ok_or_else(|| {
        malformed("q has no text to search for: it is empty, or has only accents and characters that show nothing")
    })
}
