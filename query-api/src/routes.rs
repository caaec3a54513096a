//! The routes that show things.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{ApplicationView, ChatView, MessageView, SearchText};
use service::path::{Parsed, Path};
use service::query::Query;

use crate::awaiting::Awaiting;
use crate::error::ApiError;
use crate::paging::{ListParameters, ListRequest};
use crate::queries::Queries;

/// Said where a method is not answered on this port.
pub const OTHER_PORT: &str = "Writes are answered on the write port (8080 by default).";

/// Longest search text in characters (Unicode scalar values).
const MAX_SEARCH_CHARACTERS: usize = 1_000;

type Token = Parsed<ApplicationToken>;
type Chat = Parsed<ChatNumber>;

/// All routes of the read API.
pub fn routes(queries: Queries) -> Router {
    Router::new()
        .route("/api/v1/chat_applications", get(applications))
        .route("/api/v1/chat_applications/{token}", get(application))
        .route("/api/v1/chat_applications/{token}/chats", get(chats))
        .route("/api/v1/chat_applications/{token}/chats/{chat}", get(chat))
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages", get(messages))
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", get(search))
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", get(message))
        .with_state(queries)
}

async fn applications(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    uri: Uri,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::ascending(&parameters)?;
    Ok(list.answer(uri.path(), queries.applications(&awaiting, list.page).await?))
}

async fn application(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    Path(Parsed(token)): Path<Token>,
) -> Result<axum::Json<ApplicationView>, ApiError> {
    Ok(axum::Json(queries.application(&awaiting, token).await?))
}

async fn chats(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    uri: Uri,
    Path(Parsed(token)): Path<Token>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::ascending(&parameters)?;
    Ok(list.answer(uri.path(), queries.chats(&awaiting, token, list.page).await?))
}

async fn chat(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    Path((Parsed(token), Parsed(number))): Path<(Token, Chat)>,
) -> Result<axum::Json<ChatView>, ApiError> {
    Ok(axum::Json(queries.chat(&awaiting, ChatKey { token, number }).await?))
}

async fn messages(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    uri: Uri,
    Path((Parsed(token), Parsed(number))): Path<(Token, Chat)>,
    Query(parameters): Query<ListParameters>,
) -> Result<Response, ApiError> {
    let list = ListRequest::either_way(&parameters)?;
    Ok(list.answer(uri.path(), queries.messages(&awaiting, ChatKey { token, number }, list.page).await?))
}

async fn message(
    State(queries): State<Queries>,
    awaiting: Awaiting,
    Path((Parsed(token), Parsed(chat), Parsed(number))): Path<(Token, Chat, Parsed<MessageNumber>)>,
) -> Result<axum::Json<MessageView>, ApiError> {
    Ok(axum::Json(queries.message(&awaiting, ChatKey { token, number: chat }, number).await?))
}

async fn search(
    State(queries): State<Queries>,
    awaiting: Awaiting,
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
