//! The routes that change things.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LOCATION};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use serde::{Deserialize, Serialize};
use service::config::CorsOrigins;
use service::host::Port;
use service::json::{Json, Object};
use service::path::{Parsed, Path};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use service::config::PublicUrl;

use crate::commands::Commands;
use crate::error::{ApiError, BodyProblems, NumberProblems, PathProblems};
use crate::idempotency_key::{Key, KeyHeader};
use crate::text::{Body, Name, TextError};
use crate::trace::{Trace, TraceHeader};

/// The header that tells a client how far the log must be projected until its write is seen.
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// The port where they are answered.
pub const fn port(cors_origins: CorsOrigins) -> Port {
    Port { name: "write", other_port: "Reads are answered on the read port (3000 by default).", cors_origins }
}

/// What the handlers share.
#[derive(Clone)]
struct WriteApi {
    commands: Commands,
    /// Under which URL clients reach the read API, for Location.
    read_url: Arc<PublicUrl>,
}

/// What describes the write API.
#[derive(OpenApi)]
#[openapi(info(
    title = "Tally: write API",
    description = "Creates and renames applications, creates chats, posts messages. An answer of success is sent after the \
                   event log has the event. Read on the read API, with the Log-Position of the answer as Await-Position."
))]
struct Description;

/// All routes of the write API. `read_url` is where clients reach the read API.
pub fn routes(commands: Commands, read_url: PublicUrl) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(create_application))
        .routes(routes!(put_application, patch_application))
        .routes(routes!(create_chat))
        .routes(routes!(post_message))
        // Known paths without a method here: 405 says so, where 404 would say that there is no such thing.
        .route("/api/v1/chat_applications/{token}/chats/{chat}", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", MethodRouter::new())
        .with_state(WriteApi { commands, read_url: Arc::new(read_url) })
}

#[derive(Deserialize, ToSchema)]
struct ApplicationRequest {
    #[schema(value_type = ApplicationFields)]
    chat_application: Object<ApplicationFields>,
}

#[derive(Deserialize, ToSchema)]
struct ApplicationFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    name: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct MessageRequest {
    #[schema(value_type = MessageFields)]
    message: Object<MessageFields>,
}

#[derive(Deserialize, ToSchema)]
struct MessageFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 16384, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    body: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct CreatedApplication {
    name: String,
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    token: ApplicationToken,
    chats_count: u64,
}

#[derive(Serialize, ToSchema)]
struct RenamedApplication {
    name: String,
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    token: ApplicationToken,
}

#[derive(Serialize, ToSchema)]
struct CreatedChat {
    #[schema(value_type = u32, minimum = 1)]
    number: ChatNumber,
    messages_count: u64,
}

#[derive(Serialize, ToSchema)]
struct PostedMessage {
    #[schema(value_type = u32, minimum = 1)]
    number: MessageNumber,
}

/// Creates an application under a random token.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications",
    tag = "applications",
    request_body = ApplicationRequest,
    params(
        KeyHeader,
        TraceHeader
    ),
    responses(
        (status = 201, description = "Created", body = CreatedApplication,
        headers(
            ("Location" = String, description = "Where it can be read"),
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        BodyProblems
    )
)]
async fn create_application(
    State(api): State<WriteApi>,
    Key(key): Key,
    Trace(trace): Trace,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.create_application(name, key.as_ref(), trace).await?;
    let location = format!("{}/api/v1/chat_applications/{}", api.read_url.as_str(), written.value.to_hex());
    let created = CreatedApplication { name: text, token: written.value, chats_count: 0 };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position.to_string())], axum::Json(created)))
}

/// Gives an application another name.
#[utoipa::path(
    put,
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    request_body = ApplicationRequest,
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        TraceHeader
    ),
    responses(
        (status = 200, description = "Renamed", body = RenamedApplication,
        headers(
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        BodyProblems,
        PathProblems
    )
)]
async fn put_application(
    api: State<WriteApi>,
    token: Path<Parsed<ApplicationToken>>,
    trace: Trace,
    request: Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    rename_application(api, token, trace, request).await
}

/// Gives an application another name.
#[utoipa::path(
    patch,
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    request_body = ApplicationRequest,
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        TraceHeader
    ),
    responses(
        (status = 200, description = "Renamed", body = RenamedApplication,
        headers(
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        BodyProblems,
        PathProblems
    )
)]
async fn patch_application(
    api: State<WriteApi>,
    token: Path<Parsed<ApplicationToken>>,
    trace: Trace,
    request: Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    rename_application(api, token, trace, request).await
}

async fn rename_application(
    State(api): State<WriteApi>,
    Path(Parsed(token)): Path<Parsed<ApplicationToken>>,
    Trace(trace): Trace,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.rename_application(token, name, trace).await?;
    Ok(([(LOG_POSITION, written.position.to_string())], axum::Json(RenamedApplication { name: text, token })))
}

/// Creates a chat under the next number of its application. What is sent with it is not looked at.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats",
    tag = "chats",
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        KeyHeader,
        TraceHeader
    ),
    responses(
        (status = 201, description = "Created", body = CreatedChat,
        headers(
            ("Location" = String, description = "Where it can be read"),
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        PathProblems,
        NumberProblems
    )
)]
async fn create_chat(
    State(api): State<WriteApi>,
    Path(Parsed(token)): Path<Parsed<ApplicationToken>>,
    Key(key): Key,
    Trace(trace): Trace,
) -> Result<impl IntoResponse, ApiError> {
    let written = api.commands.create_chat(token, key.as_ref(), trace).await?;
    let (read_url, number) = (api.read_url.as_str(), written.value);
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{number}", token.to_hex());
    let created = CreatedChat { number, messages_count: 0 };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position.to_string())], axum::Json(created)))
}

/// Posts a message under the next number of its chat.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages",
    tag = "messages",
    request_body = MessageRequest,
    params(
        ("token" = String, Path, description = "The application", pattern = "^[0-9a-f]{32}$"),
        ("chat" = u32, Path, description = "The chat's number", minimum = 1),
        KeyHeader,
        TraceHeader
    ),
    responses(
        (status = 201, description = "Posted", body = PostedMessage,
        headers(
            ("Location" = String, description = "Where it can be read"),
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        BodyProblems,
        PathProblems,
        NumberProblems
    )
)]
async fn post_message(
    State(api): State<WriteApi>,
    Path((Parsed(token), Parsed(chat))): Path<(Parsed<ApplicationToken>, Parsed<ChatNumber>)>,
    Key(key): Key,
    Trace(trace): Trace,
    Json(request): Json<MessageRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let body = field("body", request.message.0.body, Body::new)?;
    let written = api.commands.post_message(ChatKey { token, number: chat }, body, key.as_ref(), trace).await?;
    let (read_url, number) = (api.read_url.as_str(), written.value);
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{chat}/messages/{number}", token.to_hex());
    let posted = PostedMessage { number };
    Ok((StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, written.position.to_string())], axum::Json(posted)))
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
