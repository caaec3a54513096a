//! The routes of the write API.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{HeaderName, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use service::answer::JsonAnswer;
use service::config::HttpArgs;
use service::host::Port;
use service::json::{Json, Object};
use service::path::{Path, parse};
use service::prefer::{Handling, HandlingPreference};
use service::query::{NoParameters, Query};
use service::responses::{BodyProblems, Malformed, NotFound, Unavailable};
use service::router::OtherPort;
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

/// The routes of the read API. A scenario compares them with what the read port says of itself.
const READ_PORT: OtherPort = OtherPort {
    hint: "Reads are answered on the read port (3000 by default).",
    routes: &[
        ("/api/v1/chat_applications", READS),
        ("/api/v1/chat_applications/{token}", READS),
        ("/api/v1/chat_applications/{token}/chats", READS),
        ("/api/v1/chat_applications/{token}/chats/{chat}", READS),
        ("/api/v1/chat_applications/{token}/chats/{chat}/messages", READS),
        ("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", READS),
        ("/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}", READS),
    ],
};
const READS: &[Method] = &[Method::GET, Method::HEAD];

pub fn port(http: &HttpArgs) -> Port {
    Port {
        name: "write",
        other_port: READ_PORT,
        cors_origins: http.cors.cors_origins.clone(),
        hosts: http.hosts.hosts.clone(),
        ignored_parts: &[],
        idle_timeout: http.connections.idle_timeout(),
    }
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

/// [`Object`] checks for unknown members. The attribute says so in the description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read-only members are accepted, so that what GET answered may be sent back")]
struct ApplicationFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    name: Option<String>,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    id: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    token: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<u64>, read_only)]
    chats_count: IgnoredAny,
}

#[derive(Deserialize, ToSchema)]
struct MessageRequest {
    #[schema(value_type = MessageFields)]
    message: Object<MessageFields>,
}

/// [`Object`] checks for unknown members. The attribute says so in the description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read-only members are accepted, so that what GET answered may be sent back")]
struct MessageFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 16384, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    body: Option<String>,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    id: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<u64>, read_only)]
    number: IgnoredAny,
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
        (StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, position.to_string())], JsonAnswer(body))
            .into_response()
    }
}

/// Creates an application under a random token.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications",
    tag = "applications",
    request_body = ApplicationRequest,
    params(ApplicationKey, Trace, HandlingPreference),
    responses(Created<CreatedApplication>, Malformed, BodyProblems, Unavailable)
)]
async fn create_application(
    State(api): State<WriteApi>,
    ApplicationKey { key }: ApplicationKey,
    Trace { trace }: Trace,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<ApplicationRequest>,
) -> Result<Created<CreatedApplication>, ApiError> {
    let name = parse_name(request, handling)?;
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
    params(TokenPath, Trace, HandlingPreference),
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
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = parse_name(request, handling)?;
    let text = name.clone().into_string();
    let written = api.commands.rename_application(token, name, trace).await?;
    Ok(([(LOG_POSITION, written.position.to_string())], JsonAnswer(RenamedApplication { name: text, token })))
}

/// Creates a chat under the next number of its application. A body is ignored.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats",
    tag = "chats",
    params(TokenPath, Key, Trace, HandlingPreference),
    responses(Created<CreatedChat>, Malformed, NotFound, NumbersExhausted, Unavailable)
)]
async fn create_chat(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Key { key }: Key,
    Trace { trace }: Trace,
    _: Query<NoParameters>,
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
    params(TokenPath, ChatPath, Key, Trace, HandlingPreference),
    responses(Created<PostedMessage>, Malformed, NotFound, NumbersExhausted, BodyProblems, Unavailable)
)]
#[expect(clippy::too_many_arguments, reason = "every extractor is an argument")]
async fn post_message(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    Key { key }: Key,
    Trace { trace }: Trace,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<MessageRequest>,
) -> Result<Created<PostedMessage>, ApiError> {
    let body = parse_field("body", request.message.known(handling)?.body, Body::new)?;
    let written = api.commands.post_message(ChatKey { token, number: chat }, body, key.as_ref(), trace).await?;
    let read_url = api.read_url.as_str();
    let number = written.value;
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{chat}/messages/{number}", token.to_hex());
    let posted = PostedMessage { number };
    Ok(Created(posted, location, written.position))
}

fn parse_name(request: ApplicationRequest, handling: Handling) -> Result<Name, ApiError> {
    parse_field("name", request.chat_application.known(handling)?.name, Name::new)
}

/// Checks a text field. A missing field counts as empty.
fn parse_field<T>(
    field: &'static str,
    value: Option<String>,
    check: impl FnOnce(String) -> Result<T, TextError>,
) -> Result<T, ApiError> {
    check(value.unwrap_or_default()).map_err(|error| ApiError::Field { field, error })
}
