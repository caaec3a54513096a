//! The routes of the write API.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};
use serde::{Deserialize, Serialize};
use service::config::CorsOrigins;
use service::host::Port;
use service::json::{Json, Object};
use service::path::{Path, parse};
use service::responses::{BodyProblems, Malformed, NotFound, Unavailable};
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

pub use service::config::PublicUrl;

use crate::commands::Commands;
use crate::error::{ApiError, NumbersExhausted};
use crate::idempotency_key::{ApplicationKey, Key};
use crate::text::{Body, Name, TextError};
use crate::trace::Trace;

/// The position in the log that a projection must reach to show this write.
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

pub const fn port(cors_origins: CorsOrigins) -> Port {
    Port { name: "write", other_port: "Reads are answered on the read port (3000 by default).", cors_origins }
}

/// The state of the handlers.
#[derive(Clone)]
struct WriteApi {
    commands: Commands,
    /// The URL under which clients reach the read API, for the header Location.
    read_url: Arc<PublicUrl>,
}

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

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tally: write API",
        description = "Creates and renames applications, creates chats, posts messages. A success is answered after the \
                       event log has the event. Read on the read API, with the Log-Position of the answer as Await-Position."
    ),
    // utoipa does not find the schemas below a response type of our own.
    components(schemas(CreatedApplication, CreatedChat, PostedMessage))
)]
struct Description;

/// `read_url` is the URL under which clients reach the read API.
pub fn routes(commands: Commands, read_url: PublicUrl) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(create_application))
        .routes(rename_routes())
        .routes(routes!(create_chat))
        .routes(routes!(post_message))
        // Paths of the read API. Because they have a route here, a request for one is answered 405, which names the other
        // port, instead of 404.
        .route("/api/v1/chat_applications/{token}/chats/{chat}", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", MethodRouter::new())
        .route("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", MethodRouter::new())
        .with_state(WriteApi { commands, read_url: Arc::new(read_url) })
}

/// PUT and PATCH share a handler and its description, but each needs an operation id of its own.
fn rename_routes() -> UtoipaMethodRouter<WriteApi> {
    let (schemas, mut paths, methods) = routes!(rename_application);
    for item in paths.paths.values_mut() {
        for (operation, id) in [(&mut item.put, "put_application"), (&mut item.patch, "patch_application")] {
            if let Some(operation) = operation {
                operation.operation_id = Some(id.to_owned());
            }
        }
    }
    (schemas, paths, methods)
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

/// Created
#[derive(IntoResponses)]
#[response(
    status = 201,
    headers(
        ("Location" = String, description = "URL of the created application, chat or message on the read API"),
        ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
    )
)]
struct Created<T: ToSchema>(T, String, Position);

impl<T: ToSchema + Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let Self(body, location, position) = self;
        (StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, position.to_string())], axum::Json(body))
            .into_response()
    }
}

/// Creates an application under a random token.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications",
    tag = "applications",
    request_body = ApplicationRequest,
    params(ApplicationKey, Trace),
    responses(Created<CreatedApplication>, Malformed, BodyProblems, Unavailable)
)]
async fn create_application(
    State(api): State<WriteApi>,
    ApplicationKey { key }: ApplicationKey,
    Trace { trace }: Trace,
    Json(request): Json<ApplicationRequest>,
) -> Result<Created<CreatedApplication>, ApiError> {
    let name = parse_name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.create_application(name, key.as_ref(), trace).await?;
    let location = format!("{}/api/v1/chat_applications/{}", api.read_url.as_str(), written.value.to_hex());
    let created = CreatedApplication { name: text, token: written.value, chats_count: 0 };
    Ok(Created(created, location, written.position))
}

/// Renames an application.
#[utoipa::path(
    method(put, patch),
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    request_body = ApplicationRequest,
    params(TokenPath, Trace),
    responses(
        (status = 200, description = "Renamed", body = RenamedApplication,
        headers(
            ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
        )),
        Malformed,
        NotFound,
        BodyProblems,
        Unavailable
    )
)]
async fn rename_application(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Trace { trace }: Trace,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = parse_name(request)?;
    let text = name.clone().into_string();
    let written = api.commands.rename_application(token, name, trace).await?;
    Ok(([(LOG_POSITION, written.position.to_string())], axum::Json(RenamedApplication { name: text, token })))
}

/// Creates a chat under the next number of its application. A body is ignored.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats",
    tag = "chats",
    params(TokenPath, Key, Trace),
    responses(Created<CreatedChat>, Malformed, NotFound, NumbersExhausted, Unavailable)
)]
async fn create_chat(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Key { key }: Key,
    Trace { trace }: Trace,
) -> Result<Created<CreatedChat>, ApiError> {
    let written = api.commands.create_chat(token, key.as_ref(), trace).await?;
    let read_url = api.read_url.as_str();
    let number = written.value;
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{number}", token.to_hex());
    let created = CreatedChat { number, messages_count: 0 };
    Ok(Created(created, location, written.position))
}

/// Posts a message under the next number of its chat.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats/{chat}/messages",
    tag = "messages",
    request_body = MessageRequest,
    params(TokenPath, ChatPath, Key, Trace),
    responses(Created<PostedMessage>, Malformed, NotFound, NumbersExhausted, BodyProblems, Unavailable)
)]
async fn post_message(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Key { key }: Key,
    Trace { trace }: Trace,
    Json(request): Json<MessageRequest>,
) -> Result<Created<PostedMessage>, ApiError> {
    let body = parse_field("body", request.message.0.body, Body::new)?;
    let written = api.commands.post_message(ChatKey { token, number: chat }, body, key.as_ref(), trace).await?;
    let read_url = api.read_url.as_str();
    let number = written.value;
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{chat}/messages/{number}", token.to_hex());
    let posted = PostedMessage { number };
    Ok(Created(posted, location, written.position))
}

fn parse_name(request: ApplicationRequest) -> Result<Name, ApiError> {
    parse_field("name", request.chat_application.0.name, Name::new)
}

/// Checks a text field. A missing field counts as empty.
fn parse_field<T>(
    field: &'static str,
    value: Option<String>,
    check: impl FnOnce(String) -> Result<T, TextError>,
) -> Result<T, ApiError> {
    check(value.unwrap_or_default()).map_err(|error| ApiError::Field { field, error })
}
