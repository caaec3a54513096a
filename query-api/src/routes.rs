//! The routes that show things.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{ApplicationView, ChatView, MessageView, SearchText};
use service::config::CorsOrigins;
use service::host::Port;
use service::path::{Parsed, Path};
use service::query::Query;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::await_position::{AwaitPosition, AwaitPositionHeaders};
use crate::error::{ApiError, PathProblems, ReadProblems};
use crate::paging::{ListParameters, ListRequest, NumberedListQuery};
use crate::queries::Queries;

/// The port where they are answered.
pub const fn port(cors_origins: CorsOrigins) -> Port {
    Port { name: "read", other_port: "Writes are answered on the write port (8080 by default).", cors_origins }
}

/// Longest search text in characters (Unicode scalar values).
const MAX_SEARCH_CHARACTERS: usize = 1_000;

type Token = Parsed<ApplicationToken>;
type Chat = Parsed<ChatNumber>;

/// What describes the read API.
#[derive(OpenApi)]
#[openapi(info(
    title = "Tally: read API",
    description = "Lists, counts and search, made from the event log a moment after each write. To see a write for sure, \
                   send its Log-Position as Await-Position."
))]
struct Description;

/// All routes of the read API.
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
    params(
        ("limit" = Option<u32>, Query, description = "Most items", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, pattern = "^[0-9a-f]{32}$", description = "Only what comes after this"),
        ("before" = Option<String>, Query, pattern = "^[0-9a-f]{32}$", description = "Only what comes just before this"),
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "Applications by token", body = [ApplicationView],
        headers(("Link" = Option<String>, description = "While there is more: the path of the next part, with rel=next"))),
        ReadProblems
    )
)]
async fn applications(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    uri: Uri,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::ascending(&parameters)?;
    Ok(list.answer(uri.path(), queries.applications(&awaiting, list.page).await?))
}

/// One application
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "One application", body = ApplicationView),
        ReadProblems,
        PathProblems
    )
)]
async fn application(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    Path(Parsed(token)): Path<Token>,
) -> Result<axum::Json<ApplicationView>, ApiError> {
    Ok(axum::Json(queries.application(&awaiting, token).await?))
}

/// Chats of an application by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats",
    tag = "chats",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        NumberedListQuery,
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "Chats of an application by number", body = [ChatView],
        headers(("Link" = Option<String>, description = "While there is more: the path of the next part, with rel=next"))),
        ReadProblems,
        PathProblems
    )
)]
async fn chats(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    uri: Uri,
    Path(Parsed(token)): Path<Token>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::ascending(&parameters)?;
    Ok(list.answer(uri.path(), queries.chats(&awaiting, token, list.page).await?))
}

/// One chat
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}",
    tag = "chats",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        ("chat" = u32, Path, description = "The chat's number", minimum = 1),
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "One chat", body = ChatView),
        ReadProblems,
        PathProblems
    )
)]
async fn chat(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    Path((Parsed(token), Parsed(number))): Path<(Token, Chat)>,
) -> Result<axum::Json<ChatView>, ApiError> {
    Ok(axum::Json(queries.chat(&awaiting, ChatKey { token, number }).await?))
}

/// Messages of a chat by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages",
    tag = "messages",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        ("chat" = u32, Path, description = "The chat's number", minimum = 1),
        NumberedListQuery,
        ("order" = Option<String>, Query, description = "asc (unless said otherwise) or desc", pattern = "^(asc|desc)$"),
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "Messages of a chat by number", body = [MessageView],
        headers(("Link" = Option<String>, description = "While there is more: the path of the next part, with rel=next"))),
        ReadProblems,
        PathProblems
    )
)]
async fn messages(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    uri: Uri,
    Path((Parsed(token), Parsed(number))): Path<(Token, Chat)>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::either_way(&parameters)?;
    Ok(list.answer(uri.path(), queries.messages(&awaiting, ChatKey { token, number }, list.page).await?))
}

/// One message
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}",
    tag = "messages",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        ("chat" = u32, Path, description = "The chat's number", minimum = 1),
        ("message" = u32, Path, description = "The message's number", minimum = 1),
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "One message", body = MessageView),
        ReadProblems,
        PathProblems
    )
)]
async fn message(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    Path((Parsed(token), Parsed(chat), Parsed(number))): Path<(Token, Chat, Parsed<MessageNumber>)>,
) -> Result<axum::Json<MessageView>, ApiError> {
    Ok(axum::Json(queries.message(&awaiting, ChatKey { token, number: chat }, number).await?))
}

/// Messages of a chat that contain a text, by number
#[utoipa::path(
    get,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search",
    tag = "messages",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        ("chat" = u32, Path, description = "The chat's number", minimum = 1),
        ("q" = String, Query, description = "What to look for, whatever the case, accents and compatibility forms",
            min_length = 1, max_length = 1000),
        NumberedListQuery,
        AwaitPositionHeaders
    ),
    responses(
        (status = 200, description = "Messages of a chat that contain a text, by number", body = [MessageView],
        headers(("Link" = Option<String>, description = "While there is more: the path of the next part, with rel=next"))),
        ReadProblems,
        PathProblems
    )
)]
async fn search(
    State(queries): State<Queries>,
    awaiting: AwaitPosition,
    uri: Uri,
    Path((Parsed(token), Parsed(number))): Path<(Token, Chat)>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::ascending(&parameters)?;
    let text = search_text(parameters.q.as_deref())?;
    Ok(list.answer(uri.path(), queries.search(&awaiting, ChatKey { token, number }, &text, list.page).await?))
}

fn search_text(q: Option<&str>) -> Result<SearchText, ApiError> {
    let malformed = |detail: &str| ApiError::Malformed(detail.to_owned());
    let q = q.ok_or_else(|| malformed("q is missing: it tells what to look for"))?;
    if q.chars().count() > MAX_SEARCH_CHARACTERS {
        return Err(ApiError::Malformed(format!("q must have at most {MAX_SEARCH_CHARACTERS} characters")));
    }
    if q.contains('\0') {
        return Err(malformed("q can't contain the character U+0000"));
    }
    SearchText::new(q).ok_or_else(|| malformed("q has nothing to look for: it is empty or only combining marks"))
}
