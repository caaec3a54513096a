//! The routes that change things.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LOCATION};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, post, put};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use serde::{Deserialize, Serialize};
use service::json::{Json, Object};
use service::path::{Parsed, Path};

pub use service::config::PublicUrl;

use crate::commands::Commands;
use crate::error::ApiError;
use crate::idempotency_key::Key;
use crate::text::{Body, Name, TextError};

/// The header that tells a client how far the log must be projected until its write is seen.
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// Said where a method is not answered on this port.
pub const OTHER_PORT: &str = "Reads are answered on the read port (3000 by default).";

/// What the handlers share.
#[derive(Clone)]
struct WriteApi {
    commands: Commands,
    /// Under which URL clients reach the read API, for Location.
    read_url: Arc<PublicUrl>,
}

/// All routes of the write API. `read_url` is where clients reach the read API.
pub fn routes(commands: Commands, read_url: PublicUrl) -> Router {
    Router::new()
        .route("/api/v1/chat_applications", post(create_application))
        .route("/api/v1/chat_applications/{token}", put(rename_application).patch(rename_application))
        .route("/api/v1/chat_applications/{token}/chats", post(create_chat))
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages", post(post_message))
        // Known paths without a method here: 405 says so, where 404 would say that there is no such thing.
        .route("/api/v1/chat_applications/{token}/chats/{chat}", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", MethodRouter::new())
        .with_state(WriteApi { commands, read_url: Arc::new(read_url) })
}

#[derive(Deserialize)]
struct ApplicationRequest {
    chat_application: Object<ApplicationFields>,
}

#[derive(Deserialize)]
struct ApplicationFields {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct MessageRequest {
    message: Object<MessageFields>,
}

#[derive(Deserialize)]
struct MessageFields {
    #[serde(default)]
    body: Option<String>,
}

#[derive(Serialize)]
struct CreatedApplication {
    name: String,
    token: ApplicationToken,
    chats_count: u64,
}

#[derive(Serialize)]
struct RenamedApplication {
    name: String,
    token: ApplicationToken,
}

#[derive(Serialize)]
struct CreatedChat {
    number: ChatNumber,
    messages_count: u64,
}

#[derive(Serialize)]
struct PostedMessage {
    number: MessageNumber,
}

async fn create_application(
    State(api): State<WriteApi>,
    Key(key): Key,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.create_application(name, key.as_ref()).await?;
    let location = format!("{}/api/v1/chat_applications/{}", api.read_url.as_str(), written.value.to_hex());
    let created = CreatedApplication { name: text, token: written.value, chats_count: 0 };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position)], axum::Json(created)))
}

async fn rename_application(
    State(api): State<WriteApi>,
    Path(Parsed(token)): Path<Parsed<ApplicationToken>>,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.rename_application(token, name).await?;
    Ok(([(LOG_POSITION, written.position)], axum::Json(RenamedApplication { name: text, token })))
}

/// What is sent with it is not looked at.
async fn create_chat(
    State(api): State<WriteApi>,
    Path(Parsed(token)): Path<Parsed<ApplicationToken>>,
    Key(key): Key,
) -> Result<impl IntoResponse, ApiError> {
    let written = api.commands.create_chat(token, key.as_ref()).await?;
    let (read_url, number) = (api.read_url.as_str(), written.value);
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{number}", token.to_hex());
    let created = CreatedChat { number, messages_count: 0 };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position)], axum::Json(created)))
}

async fn post_message(
    State(api): State<WriteApi>,
    Path((Parsed(token), Parsed(chat))): Path<(Parsed<ApplicationToken>, Parsed<ChatNumber>)>,
    Key(key): Key,
    Json(request): Json<MessageRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let body = field("body", request.message.0.body, Body::new)?;
    let written = api.commands.post_message(ChatKey { token, number: chat }, body, key.as_ref()).await?;
    let (read_url, number) = (api.read_url.as_str(), written.value);
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{chat}/messages/{number}", token.to_hex());
    let posted = PostedMessage { number };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position)], axum::Json(posted)))
}

fn name(request: ApplicationRequest) -> Result<Name, ApiError> {
    field("name", request.chat_application.0.name, Name::new)
}

/// A text field; one that is missing is as good as empty.
fn field<T>(
    field: &'static str,
    value: Option<String>,
    check: impl FnOnce(String) -> Result<T, TextError>,
) -> Result<T, ApiError> {
    check(value.unwrap_or_default()).map_err(|error| ApiError::Field { field, error })
}
