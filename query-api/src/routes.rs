//! The routes of the read API.

use std::sync::Arc;

use access::guard::{WithoutRule, guard};
use access::{Authority, Principal, rules};
use axum::extract::State;
use axum::http::Uri;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{Access, SearchPage, SearchText};
use serde::Deserialize;
use service::config::{HttpArgs, PublicUrl};
use service::front_page::{READ_API, WRITE_API};
use service::host::Port;
use service::path::{Path, parse};
use service::query::Query;
use service::responses::{MalformedHead, NotFound, NotModified, Unavailable};
use service::router::{OtherPage, OtherPort};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::await_position::{AwaitPosition, PositionUnknown};
use crate::codes;
use crate::error::ApiError;
use crate::feed::FeedQueries;
use crate::include::{Include, IncludeOfApplications, IncludeOfChats, IncludeOfMessages};
use crate::items::{Application, Chat, Message};
use crate::keys::{Key, KeyQueries, ScopeName};
use crate::log_position::ItemResponse;
use crate::paging::{LimitQuery, ListParameters, ListRequest, ListResponse, NumberCursorQuery, TokenCursorQuery};
use crate::queries::Queries;

/// `write_url` is the URL under which clients reach the write API.
pub fn port(http: &HttpArgs, write_url: &PublicUrl) -> Port {
    let hint = format!("Writes are answered on the write port: {}", write_url.as_str());
    let page = OtherPage { title: WRITE_API, url: write_url.clone() };
    Port {
        name: "read",
        other_port: OtherPort { hint, page: Some(page), routes: rules::writes() },
        cors_origins: http.cors.cors_origins.clone(),
        hosts: http.hosts.hosts.clone(),
        ignored_parts: &[],
        idle_timeout: http.connections.idle_timeout(),
        codes: vec![codes::CODES, access::codes::CODES],
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
pub(crate) struct TokenPath {
    /// The application
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$", example = "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69")]
    #[serde(deserialize_with = "parse")]
    pub(crate) token: ApplicationToken,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ChatPath {
    /// The chat's number
    #[param(value_type = u32, minimum = 1, example = 1)]
    #[serde(deserialize_with = "parse")]
    chat: ChatNumber,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct MessagePath {
    /// The message's number
    #[param(value_type = u32, minimum = 1, example = 1)]
    #[serde(deserialize_with = "parse")]
    message: MessageNumber,
}

/// The query parameters of one item.
#[derive(Deserialize)]
struct ItemQuery {
    include: Option<String>,
}

/// The query parameters of a list. Each kind of list has a struct of its own, whose fields are all the parameters that it takes.
#[derive(Deserialize)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    include: Option<String>,
}

#[derive(Deserialize)]
struct OrderedQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
    include: Option<String>,
}

#[derive(Deserialize)]
struct SearchQuery {
    q: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    include: Option<String>,
}

#[derive(Deserialize)]
struct KeysQuery {
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
}

impl From<KeysQuery> for ListParameters {
    fn from(KeysQuery { limit, after, before }: KeysQuery) -> Self {
        Self { limit, after, before, ..Self::default() }
    }
}

impl From<ListQuery> for ListParameters {
    fn from(ListQuery { limit, after, before, include }: ListQuery) -> Self {
        Self { limit, after, before, include, ..Self::default() }
    }
}

impl From<OrderedQuery> for ListParameters {
    fn from(OrderedQuery { limit, after, before, order, include }: OrderedQuery) -> Self {
        Self { limit, after, before, order, include, q: None }
    }
}

impl From<SearchQuery> for ListParameters {
    fn from(SearchQuery { q, limit, after, before, include }: SearchQuery) -> Self {
        Self { limit, after, before, include, order: None, q }
    }
}

/// Describes `order` for OpenAPI.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "handlers read ListParameters")]
struct OrderQuery {
    /// The order of the items: asc, unless said
    #[param(inline, example = "desc")]
    order: Option<Order>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
enum Order {
    Asc,
    Desc,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = READ_API,
        description = "Lists, counts and search, made from the event log a moment after each write. To be sure to see a write, \
                       or not to see less than a read has shown, send its Log-Position as Await-Position."
    ),
    tags(
        (name = "applications", description = "Who has chats: each is known by its token"),
        (name = "chats", description = "Numbered 1, 2, 3 … in their application"),
        (name = "messages", description = "Numbered 1, 2, 3 … in their chat"),
        (name = "events", description = "What happens in an application, as it happens"),
        (name = "keys", description = "Keys of applications")
    ),
    // utoipa does not find the schemas below a response type of our own.
    components(schemas(Application, Chat, Key, Message, ScopeName))
)]
struct Description;

/// `access` and `feed` read the same projections as `queries`. `authority` decides who may use the routes.
///
/// # Errors
/// If a route has no rule.
pub fn routes(
    queries: Queries,
    access: Arc<dyn Access>,
    feed: FeedQueries,
    authority: &Authority,
) -> Result<OpenApiRouter, WithoutRule> {
    let key_queries = KeyQueries::new(queries.clone(), access);
    let routes = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(applications))
        .routes(routes!(application))
        .routes(routes!(chats))
        .routes(routes!(chat))
        .routes(routes!(messages))
        .routes(routes!(search))
        .routes(routes!(message))
        .with_state(queries)
        .merge(OpenApiRouter::new().routes(routes!(keys)).with_state(key_queries))
        .merge(crate::feed::routes::routes(feed));
    guard(routes, authority)
}

/// Applications by token: all of them, or the one that the credential is of
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications",
    operation_id = "listApplications",
    tag = "applications",
    params(LimitQuery, TokenCursorQuery, IncludeOfApplications, AwaitPosition),
    responses(ListResponse<Application>, NotModified, MalformedHead, PositionUnknown, Unavailable)
)]
async fn applications(
    State(queries): State<Queries>,
    principal: Principal,
    wait: AwaitPosition,
    uri: Uri,
    Query(parameters): Query<ListQuery>,
) -> Result<ListResponse<Application>, ApiError> {
    let parameters = ListParameters::from(parameters);
    let list = ListRequest::parse(&parameters)?;
    let include = Include::of_applications(parameters.include.as_deref())?;
    let shown = queries.applications_of(&principal, &wait, list.page).await?;
    Ok(list.respond(uri.path(), shown.map(|slice| slice.map(|view| Application::new(view, include)))))
}

/// One application; its `chats_count` is of the chats that the credential may see
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}",
    operation_id = "getApplication",
    tag = "applications",
    params(TokenPath, IncludeOfApplications, AwaitPosition),
    responses(
        ItemResponse<Application>,
        NotModified,
        MalformedHead,
        NotFound,
        PositionUnknown,
        Unavailable
    )
)]
async fn application(
    State(queries): State<Queries>,
    principal: Principal,
    wait: AwaitPosition,
    Path(TokenPath { token }): Path<TokenPath>,
    Query(parameters): Query<ItemQuery>,
) -> Result<ItemResponse<Application>, ApiError> {
    let include = Include::of_applications(parameters.include.as_deref())?;
    Ok(queries.application_of(&principal, &wait, token).await?.map(|view| Application::new(view, include)).into())
}

/// Chats of an application by number; of those, the ones that the token of a user lists
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats",
    operation_id = "listChats",
    tag = "chats",
    params(TokenPath, LimitQuery, NumberCursorQuery, OrderQuery, IncludeOfChats, AwaitPosition),
    responses(ListResponse<Chat>, NotModified, MalformedHead, NotFound, PositionUnknown, Unavailable)
)]
async fn chats(
    State(queries): State<Queries>,
    principal: Principal,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Query(parameters): Query<OrderedQuery>,
) -> Result<ListResponse<Chat>, ApiError> {
    let parameters = ListParameters::from(parameters);
    let list = ListRequest::parse(&parameters)?;
    let include = Include::of_chats(parameters.include.as_deref())?;
    let shown = queries.chats_of(&principal, &wait, token, list.page, include.last_message()).await?;
    Ok(list.respond(uri.path(), shown.map(|slice| slice.map(|view| Chat::new(view, include)))))
}

/// Keys of an application that are not revoked, by number; without their secrets
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/keys",
    operation_id = "listKeys",
    tag = "keys",
    params(TokenPath, LimitQuery, NumberCursorQuery, AwaitPosition),
    responses(ListResponse<Key>, NotModified, MalformedHead, NotFound, PositionUnknown, Unavailable)
)]
async fn keys(
    State(queries): State<KeyQueries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Query(parameters): Query<KeysQuery>,
) -> Result<ListResponse<Key>, ApiError> {
    let list = ListRequest::parse(&parameters.into())?;
    Ok(list.respond(uri.path(), queries.keys(&wait, token, list.page).await?))
}

/// One chat
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}",
    operation_id = "getChat",
    tag = "chats",
    params(TokenPath, ChatPath, IncludeOfChats, AwaitPosition),
    responses(
        ItemResponse<Chat>,
        NotModified,
        MalformedHead,
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
    Query(parameters): Query<ItemQuery>,
) -> Result<ItemResponse<Chat>, ApiError> {
    let include = Include::of_chats(parameters.include.as_deref())?;
    let shown = queries.chat(&wait, ChatKey { token, number: chat }, include.last_message()).await?;
    Ok(shown.map(|view| Chat::new(view, include)).into())
}

/// Messages of a chat by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages",
    operation_id = "listMessages",
    tag = "messages",
    params(
        TokenPath,
        ChatPath,
        LimitQuery,
        NumberCursorQuery,
        OrderQuery,
        IncludeOfMessages,
        AwaitPosition
    ),
    responses(ListResponse<Message>, NotModified, MalformedHead, NotFound, PositionUnknown, Unavailable)
)]
async fn messages(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Query(parameters): Query<OrderedQuery>,
) -> Result<ListResponse<Message>, ApiError> {
    let parameters = ListParameters::from(parameters);
    let list = ListRequest::parse(&parameters)?;
    let include = Include::of_messages(parameters.include.as_deref())?;
    let shown = queries.messages(&wait, ChatKey { token, number: chat }, list.page).await?;
    Ok(list.respond(uri.path(), shown.map(|slice| slice.map(|view| Message::new(view, include)))))
}

/// One message
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}",
    operation_id = "getMessage",
    tag = "messages",
    params(TokenPath, ChatPath, MessagePath, IncludeOfMessages, AwaitPosition),
    responses(
        ItemResponse<Message>,
        NotModified,
        MalformedHead,
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
    Query(parameters): Query<ItemQuery>,
) -> Result<ItemResponse<Message>, ApiError> {
    let include = Include::of_messages(parameters.include.as_deref())?;
    let shown = queries.message(&wait, ChatKey { token, number: chat }, message).await?;
    Ok(shown.map(|view| Message::new(view, include)).into())
}

/// Messages of a chat that contain a text, by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search",
    operation_id = "searchMessages",
    tag = "messages",
    params(
        TokenPath,
        ChatPath,
        ("q" = String, Query, description = "The text to search for, whatever its case, accents and compatibility forms",
            min_length = 1, max_length = 1000, example = "STRASSE"),
        LimitQuery,
        NumberCursorQuery,
        IncludeOfMessages,
        AwaitPosition
    ),
    responses(ListResponse<Message>, NotModified, MalformedHead, NotFound, PositionUnknown, Unavailable)
)]
async fn search(
    State(queries): State<Queries>,
    wait: AwaitPosition,
    uri: Uri,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Query(parameters): Query<SearchQuery>,
) -> Result<ListResponse<Message>, ApiError> {
    let parameters = ListParameters::from(parameters);
    let list = ListRequest::parse(&parameters)?;
    let include = Include::of_messages(parameters.include.as_deref())?;
    let text = parse_search_text(parameters.q.as_deref())?;
    let found = queries.search(&wait, ChatKey { token, number: chat }, &text, list.page).await?;
    let SearchPage { items, examined_to } = found.value;
    let items = items.into_iter().map(|view| Message::new(view, include)).collect();
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
