//! The routes of the write API.

mod keys;
mod user_tokens;

use std::sync::Arc;

use access::guard::{WithoutRule, guard};
use access::{Authority, Principal, Refusal, rules};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, LOCATION};
use axum::response::{IntoResponse, Response};
use events::{ApplicationToken, Author, ChatKey, ChatNumber, ClientPosition, MessageNumber};
use read_model::Access;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use service::answer::JsonAnswer;
use service::codes::bodies::BODY_CODES;
use service::config::HttpArgs;
use service::front_page::{READ_API, WRITE_API};
use service::host::Port;
use service::json::{Json, Object};
use service::path::{Path, parse};
use service::prefer::{Handling, HandlingPreference};
use service::query::{NoParameters, Query};
use service::responses::{BodyProblems, Malformed, MalformedHead, NotFound, Unavailable};
use service::router::{OtherPage, OtherPort};
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

pub use service::config::PublicUrl;

use crate::codes;
use crate::commands::{Caller, Commands};
use crate::error::{ApiError, NoNumbersLeft};
use crate::idempotency_key::{IdempotencyKeyHeader, IdempotencyKeyOfApplications, IdempotencyKeyOfChats};
use crate::keys::Keys;
use crate::text::{Body, Name};
use crate::trace::Trace;

/// The position in the log that a projection must reach to show this write.
const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// `read_url` is the URL under which clients reach the read API.
pub fn port(http: &HttpArgs, read_url: &PublicUrl) -> Port {
    let hint = format!("Reads are answered on the read port: {}", read_url.as_str());
    let page = OtherPage { title: READ_API, url: read_url.clone() };
    Port {
        name: "write",
        other_port: OtherPort { hint, page: Some(page), routes: rules::reads() },
        cors_origins: http.cors.cors_origins.clone(),
        hosts: http.hosts.hosts.clone(),
        ignored_parts: &[],
        idle_timeout: http.connections.idle_timeout(),
        codes: vec![BODY_CODES, codes::CODES, access::codes::CODES, access::codes::writes::CODES],
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
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$", example = "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69")]
    #[serde(deserialize_with = "parse")]
    token: ApplicationToken,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ChatPath {
    /// The chat's number
    #[param(value_type = u32, minimum = 1, example = 1)]
    #[serde(deserialize_with = "parse")]
    chat: ChatNumber,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = WRITE_API,
        description = "Creates and renames applications, creates chats, posts messages, issues and revokes keys, mints tokens of users. A success is answered after the \
                       event log has the event. Read on the read API, with the Log-Position of the answer as Await-Position."
    ),
    tags(
        (name = "applications", description = "Who has chats: each is known by its token"),
        (name = "chats", description = "Numbered 1, 2, 3 … in their application"),
        (name = "messages", description = "Numbered 1, 2, 3 … in their chat"),
        (name = "keys", description = "Keys of applications, and the tokens of users that are minted with them")
    ),
    // utoipa does not find the schemas below a response type of our own.
    components(schemas(CreatedApplication, CreatedChat, PostedMessage, keys::IssuedKey, keys::ScopeName, user_tokens::UserToken))
)]
struct Description;

/// `access` reads the log that the commands write. `read_url` is the URL under which clients reach the read API. `authority` decides who
/// may use the routes.
///
/// # Errors
/// If a route has no rule.
pub fn routes(
    commands: Commands,
    access: Arc<dyn Access>,
    read_url: PublicUrl,
    authority: &Authority,
) -> Result<OpenApiRouter, WithoutRule> {
    let keys = Keys::new(commands.clone(), Arc::clone(&access));
    let user_tokens = user_tokens::UserTokens::new(authority.clone(), commands.clone(), access);
    let routes = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(create_application))
        .routes(rename_routes())
        .routes(routes!(create_chat))
        .routes(routes!(post_message))
        .with_state(WriteApi { commands, read_url: Arc::new(read_url) })
        .merge(keys::routes(keys))
        .merge(user_tokens::routes(user_tokens));
    guard(routes, authority)
}

/// PUT and PATCH share a handler and its description, but each needs an operation id of its own.
fn rename_routes() -> UtoipaMethodRouter<WriteApi> {
    let (schemas, mut paths, methods) = routes!(rename_application);
    for item in paths.paths.values_mut() {
        for (operation, id) in [(&mut item.put, "putApplication"), (&mut item.patch, "renameApplication")] {
            if let Some(operation) = operation {
                operation.operation_id = Some(id.to_owned());
            }
        }
    }
    (schemas, paths, methods)
}

// `Json` and `Object` check for unknown members. The attributes of requests and of their objects say so in the description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApplicationRequest {
    #[schema(value_type = ApplicationFields)]
    chat_application: Object<ApplicationFields>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read-only members are accepted, so that what GET answered may be sent back")]
struct ApplicationFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    name: Option<String>,
    // Nothing has it, but clients that know no better may send it.
    #[serde(default)]
    #[schema(ignore)]
    id: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    token: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<u32>, read_only)]
    chats_count: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    created_at: IgnoredAny,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageRequest {
    #[schema(value_type = MessageFields)]
    message: Object<MessageFields>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read-only members are accepted, so that what GET answered may be sent back")]
struct MessageFields {
    /// Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 16384, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    body: Option<String>,
    /// Who the message is from, in the application's own words. Not blank, without U+0000. Not said: nobody.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    author: Option<String>,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    created_at: IgnoredAny,
    // Nothing has it, but clients that know no better may send it.
    #[serde(default)]
    #[schema(ignore)]
    id: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<u32>, read_only)]
    number: IgnoredAny,
}

#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "name": "Support", "token": "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69", "chats_count": 0 }))]
struct CreatedApplication {
    name: String,
    /// Identifies the application in all other routes.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    token: ApplicationToken,
    /// Always 0.
    #[schema(value_type = u32)]
    chats_count: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "name": "Support", "token": "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69" }))]
struct RenamedApplication {
    name: String,
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    token: ApplicationToken,
}

#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "number": 1, "messages_count": 0 }))]
struct CreatedChat {
    /// Its number within the application.
    #[schema(value_type = u32, minimum = 1)]
    number: ChatNumber,
    /// Always 0.
    #[schema(value_type = u32)]
    messages_count: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "number": 1 }))]
struct PostedMessage {
    /// Its number within the chat.
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
struct Created<T: ToSchema>(T, String, ClientPosition);

impl<T: ToSchema + Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let Self(body, location, position) = self;
        (StatusCode::CREATED, [(LOCATION, location), (LOG_POSITION, position.to_string())], JsonAnswer(body))
            .into_response()
    }
}

/// Done, also if there was nothing left to do
#[derive(IntoResponses)]
#[response(
    status = 204,
    headers(("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write"))
)]
struct Done;

impl Done {
    /// The answer, with a position that covers what was done.
    fn at(position: &ClientPosition) -> Response {
        (StatusCode::NO_CONTENT, [(LOG_POSITION, position.to_string())]).into_response()
    }
}

/// Creates an application under a random token.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications",
    operation_id = "createApplication",
    tag = "applications",
    request_body(content = ApplicationRequest, example = json!({ "chat_application": { "name": "Support" } })),
    params(IdempotencyKeyOfApplications, Trace, HandlingPreference),
    responses(Created<CreatedApplication>, Malformed, BodyProblems, Unavailable)
)]
async fn create_application(
    State(api): State<WriteApi>,
    IdempotencyKeyOfApplications { key }: IdempotencyKeyOfApplications,
    Trace { trace }: Trace,
    principal: Principal,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<ApplicationRequest>,
) -> Result<Created<CreatedApplication>, ApiError> {
    let name = parse_name(request, handling)?;
    let text = name.clone().into_string();
    let caller = Caller { trace, actor: principal.actor() };
    let written = api.commands.create_application(name, key.as_ref(), caller).await?;
    let location = format!("{}/api/v1/chat_applications/{}", api.read_url.as_str(), written.value.to_hex());
    let created = CreatedApplication { name: text, token: written.value, chats_count: 0 };
    Ok(Created(created, location, written.position))
}

/// Renames an application.
#[utoipa::path(
    method(put, patch),
    path = "/api/v1/chat_applications/{token}",
    tag = "applications",
    request_body(content = ApplicationRequest, example = json!({ "chat_application": { "name": "Support" } })),
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
    principal: Principal,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<ApplicationRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let name = parse_name(request, handling)?;
    let text = name.clone().into_string();
    let caller = Caller { trace, actor: principal.actor() };
    let written = api.commands.rename_application(token, name, caller).await?;
    Ok(([(LOG_POSITION, written.position.to_string())], JsonAnswer(RenamedApplication { name: text, token })))
}

/// Creates a chat under the next number of its application. A body is ignored.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/chats",
    operation_id = "createChat",
    tag = "chats",
    params(TokenPath, IdempotencyKeyOfChats, Trace, HandlingPreference),
    responses(Created<CreatedChat>, MalformedHead, NotFound, NoNumbersLeft, Unavailable)
)]
async fn create_chat(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    IdempotencyKeyHeader { key }: IdempotencyKeyHeader,
    Trace { trace }: Trace,
    principal: Principal,
    _: Query<NoParameters>,
) -> Result<Created<CreatedChat>, ApiError> {
    let caller = Caller { trace, actor: principal.actor() };
    let written = api.commands.create_chat(token, key.as_ref(), caller).await?;
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
    operation_id = "postMessage",
    tag = "messages",
    request_body(
        content = MessageRequest,
        example = json!({ "message": { "body": "Hello, Straße! 🚀", "author": "alice" } })
    ),
    params(TokenPath, ChatPath, IdempotencyKeyHeader, Trace, HandlingPreference),
    responses(Created<PostedMessage>, Malformed, NotFound, NoNumbersLeft, BodyProblems, Unavailable)
)]
#[expect(clippy::too_many_arguments, reason = "every extractor is an argument")]
async fn post_message(
    State(api): State<WriteApi>,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(ChatPath { chat }): Path<ChatPath>,
    IdempotencyKeyHeader { key }: IdempotencyKeyHeader,
    Trace { trace }: Trace,
    principal: Principal,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<MessageRequest>,
) -> Result<Created<PostedMessage>, ApiError> {
    let (body, author) = parse_message(request.message.known(handling)?)?;
    let author = principal.author(author).map_err(Refusal::into_problem)?;
    let caller = Caller { trace, actor: principal.actor() };
    let chat_key = ChatKey { token, number: chat };
    let written = api.commands.post_message(chat_key, body, author, key.as_ref(), caller).await?;
    let read_url = api.read_url.as_str();
    let number = written.value;
    let location = format!("{read_url}/api/v1/chat_applications/{}/chats/{chat}/messages/{number}", token.to_hex());
    let posted = PostedMessage { number };
    Ok(Created(posted, location, written.position))
}

fn parse_name(request: ApplicationRequest, handling: Handling) -> Result<Name, ApiError> {
    let name = request.chat_application.known(handling)?.name;
    // A missing field counts as empty.
    Name::new(name.unwrap_or_default()).map_err(|error| ApiError::Fields(vec![("name", error)]))
}

/// Says of all fields what is wrong with them. A missing body counts as empty, and `null` as no author, because GET answers it.
fn parse_message(fields: MessageFields) -> Result<(Body, Option<Author>), ApiError> {
    let body = Body::new(fields.body.unwrap_or_default());
    let author = fields.author.map(Author::new).transpose();
    match (body, author) {
        (Ok(body), Ok(author)) => Ok((body, author)),
        (body, author) => {
            let errors = [body.err().map(|error| ("body", error)), author.err().map(|error| ("author", error))];
            Err(ApiError::Fields(errors.into_iter().flatten().collect()))
        }
    }
}
