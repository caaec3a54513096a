//! The routes that mint tokens for users of an application, and void them.

use std::sync::Arc;
use std::time::Duration;

use access::minting::{Minted, TokenRequest};
use access::principal::Chats;
use access::user_tokens::{DEFAULT_LIFE, MAX_LIFE, MAX_LISTED_CHATS};
use access::{Authority, Principal, Refusal};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use events::{Author, ChatNumber, Position, Scope, Scopes, UserId};
use read_model::Access;
use serde::{Deserialize, Serialize};
use service::answer::JsonAnswer;
use service::json::{Json, Object};
use service::path::Path;
use service::prefer::{Handling, HandlingPreference};
use service::problem::{Problem, ProblemBody};
use service::query::{NoParameters, Query};
use service::responses::{BodyProblems, Malformed, MalformedHead, NotFound, Unavailable};
use service::wait_limit::WaitLimit;
use thiserror_ext::AsReport;
use utoipa::openapi::{Array, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::NO_STORE;
use super::{Done, TokenPath};
use crate::commands::{Caller, Commands};
use crate::error::ApiError;
use crate::trace::Trace;

/// Longest wait for `views` to apply that tokens are voided. A token that is minted afterwards is then not voided with the others.
const VIEWS_WAIT: Duration = Duration::from_secs(2);
/// Most requests that wait for that at once.
const MAX_WAITS: usize = 128;

/// The state of the handlers.
#[derive(Clone)]
pub(super) struct UserTokens {
    authority: Authority,
    commands: Commands,
    access: Arc<dyn Access>,
    waits: WaitLimit,
}

impl UserTokens {
    pub(super) fn new(authority: Authority, commands: Commands, access: Arc<dyn Access>) -> Self {
        Self { authority, commands, access, waits: WaitLimit::new(MAX_WAITS) }
    }

    async fn wait_until_applied(&self, position: &Position) {
        match self.waits.run(self.access.reached(position, VIEWS_WAIT)).await {
            Ok(Ok(_)) => {}
            // The tokens are voided all the same, some seconds later at most.
            Ok(Err(error)) => tracing::warn!(error = %error.as_report(), "views cannot be asked how far it has come"),
            Err(displaced) => tracing::warn!(%displaced, "a request does not wait until its event is applied"),
        }
    }
}

pub(super) fn routes(user_tokens: UserTokens) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(mint_user_token, void_user_tokens)).with_state(user_tokens)
}

// `Json` and `Object` check for unknown members. The attribute says so in the description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserTokenRequest {
    #[schema(value_type = UserTokenFields)]
    user_token: Object<UserTokenFields>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserTokenFields {
    /// Who the user is, in the application's own words. Messages that are posted with the token have this author.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    user: Option<String>,
    /// The numbers of the chats that the user may see; either these or all_chats.
    #[serde(default)]
    #[schema(schema_with = describe_chats, required = false)]
    chats: Option<Vec<u64>>,
    /// true: the user may see every chat of the application, later ones too.
    #[serde(default)]
    all_chats: Option<bool>,
    /// read, or write, which is to read and to post messages.
    #[serde(default)]
    #[schema(value_type = Vec<UserScopeName>, required, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// For how many seconds the token is valid; 3,600 unless said.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 86400)]
    expires_in: Option<u64>,
}

fn describe_chats() -> Array {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(1))
        .maximum(Some(u32::MAX));
    let mut chats = Array::new_nullable(number);
    chats.description = Some("The numbers of the chats that the user may see; either these or all_chats.".to_owned());
    (chats.min_items, chats.max_items) = (Some(1), Some(MAX_LISTED_CHATS));
    chats
}

/// What a token permits.
#[derive(ToSchema)]
#[schema(as = UserScope, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
enum UserScopeName {
    Read,
    Write,
}

/// A token for a user.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "access_token": "eyJhbGciOiJIUzI1NiJ9…", "token_type": "Bearer", "expires_in": 900 }))]
pub(super) struct UserToken {
    /// What the user sends as `Authorization: Bearer`.
    access_token: String,
    /// Always Bearer.
    token_type: &'static str,
    /// For how many seconds the token is valid. It does not outlive the key that has minted it.
    #[schema(maximum = 86400)]
    expires_in: u64,
}

/// Minted
#[derive(IntoResponses)]
#[response(status = 200, headers(("Cache-Control" = String, description = "no-store")))]
struct MintedResponse(UserToken);

impl IntoResponse for MintedResponse {
    fn into_response(self) -> Response {
        ([NO_STORE], JsonAnswer(self.0)).into_response()
    }
}

/// The server has no secret to sign tokens with
#[derive(IntoResponses)]
#[response(status = 501, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only its description is used")]
struct NoTokenSecrets(ProblemBody);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// Whose tokens are voided
    #[param(value_type = String, required, min_length = 1, max_length = 255, example = "alice")]
    user: Option<String>,
}

/// Mints a token, with which a browser or a phone of a user reads and posts messages.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/user_tokens",
    operation_id = "mintUserToken",
    tag = "keys",
    request_body(
        content = UserTokenRequest,
        example = json!({ "user_token": { "user": "alice", "chats": [1], "scopes": ["write"], "expires_in": 900 } })
    ),
    params(TokenPath, HandlingPreference),
    responses(MintedResponse, Malformed, NotFound, BodyProblems, NoTokenSecrets, Unavailable)
)]
async fn mint_user_token(
    State(tokens): State<UserTokens>,
    principal: Principal,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<UserTokenRequest>,
) -> Result<MintedResponse, ApiError> {
    let Principal::Key(key) = principal else {
        return Err(Refusal::MintingKeyNeeded { is_credential_missing: false }.into_problem().into());
    };
    let request = parse_request(request.user_token.known(handling)?)?;
    let Minted { token, life } = tokens.authority.mint(key, request).await.map_err(Refusal::into_problem)?;
    Ok(MintedResponse(UserToken { access_token: token, token_type: "Bearer", expires_in: life.as_secs() }))
}

/// Voids all tokens that were minted for a user until now, if there are any.
#[utoipa::path(
    delete,
    path = "/api/v1/chat_applications/{token}/user_tokens",
    operation_id = "voidUserTokens",
    tag = "keys",
    params(TokenPath, UserQuery, Trace, HandlingPreference),
    responses(Done, MalformedHead, NotFound, Unavailable)
)]
async fn void_user_tokens(
    State(tokens): State<UserTokens>,
    Path(TokenPath { token }): Path<TokenPath>,
    Trace { trace }: Trace,
    principal: Principal,
    Query(UserQuery { user }): Query<UserQuery>,
) -> Result<Response, ApiError> {
    let user = user.ok_or_else(|| Problem::malformed_query("user is missing: it says whose tokens are voided"))?;
    let user = UserId::new(user).map_err(|malformed| Problem::malformed_query(malformed.to_string()))?;
    let caller = Caller { trace, actor: principal.actor() };
    let written = tokens.commands.void_user_tokens(token, user, caller).await?;
    tokens.wait_until_applied(&written.position.position).await;
    Ok(Done::at(&written.position))
}

/// Checks the fields. Names every one that is wrong.
fn parse_request(fields: UserTokenFields) -> Result<TokenRequest, Problem> {
    let UserTokenFields { user, chats, all_chats, scopes, expires_in } = fields;
    let user = parse_user(user.unwrap_or_default()).map_err(|message| ("user", message));
    let chats = parse_chats(chats, all_chats.unwrap_or_default()).map_err(|message| ("chats", message));
    let scope = parse_scope(&scopes.unwrap_or_default()).map_err(|message| ("scopes", message.to_owned()));
    let life = parse_life(expires_in).map_err(|message| ("expires_in", message));
    match (user, chats, scope, life) {
        (Ok(user), Ok(chats), Ok(scope), Ok(life)) => Ok(TokenRequest { user, scope, chats, life }),
        (user, chats, scope, life) => {
            let errors = [user.err(), chats.err(), scope.err(), life.err()].into_iter().flatten();
            Err(Problem::invalid_fields().with_field_errors(errors))
        }
    }
}

/// A user is also the author of messages, so the rules for a new author hold.
fn parse_user(text: String) -> Result<UserId, String> {
    Author::new(text).map(UserId::from).map_err(|error| error.to_string())
}

fn parse_chats(listed: Option<Vec<u64>>, all: bool) -> Result<Chats, String> {
    match (listed, all) {
        (None, true) => Ok(Chats::All),
        (None, false) => Err("must be a list of numbers of chats; or let all_chats be true".to_owned()),
        (Some(_), true) => Err("must not be there if all_chats is true".to_owned()),
        (Some(listed), false) => {
            if listed.is_empty() || listed.len() > MAX_LISTED_CHATS {
                return Err(format!("must be 1 to {MAX_LISTED_CHATS} numbers of chats; or let all_chats be true"));
            }
            let number = |number: &u64| u32::try_from(*number).ok().and_then(ChatNumber::new);
            let numbers: Option<Vec<ChatNumber>> = listed.iter().map(number).collect();
            let mut numbers = numbers.ok_or("must be numbers of chats: 1, 2, 3 …")?;
            numbers.sort_unstable();
            numbers.dedup();
            Ok(Chats::Listed(numbers.into()))
        }
    }
}

fn parse_scope(names: &[String]) -> Result<Scope, &'static str> {
    let scopes: Result<Vec<Scope>, _> = names.iter().map(|name| name.parse()).collect();
    match scopes.and_then(Scopes::new).map(Scopes::highest) {
        Ok(scope @ (Scope::Read | Scope::Write)) => Ok(scope),
        Ok(Scope::Admin) | Err(_) => Err("must be a list of read, write or both"),
    }
}

fn parse_life(seconds: Option<u64>) -> Result<Duration, String> {
    let life = seconds.map_or(DEFAULT_LIFE, Duration::from_secs);
    if life.is_zero() || life > MAX_LIFE {
        return Err(format!("must be a number of seconds from 1 to {}", MAX_LIFE.as_secs()));
    }
    Ok(life)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde_json::{Value, json};

    use super::*;

    fn parse(mut changes: Value) -> Result<TokenRequest, Problem> {
        let mut fields = json!({ "user": "zoë", "chats": [3], "scopes": ["read"] });
        fields.as_object_mut().unwrap().append(changes.as_object_mut().unwrap());
        parse_request(serde_json::from_value(fields).unwrap())
    }

    #[test]
    fn a_token_is_for_a_user_chats_scopes_and_a_time() {
        let request = parse(json!({ "chats": [9, 3, 9], "scopes": ["read", "write"], "expires_in": 60 })).unwrap();
        assert_eq!((request.user.as_str(), request.scope), ("zoë", Scope::Write));
        let numbers = [3, 9].map(|number| ChatNumber::new(number).unwrap());
        assert_eq!((request.chats, request.life), (Chats::Listed(numbers.into()), Duration::from_secs(60)));
        let request = parse(json!({ "chats": null, "all_chats": true })).unwrap();
        assert_eq!((request.chats, request.scope, request.life), (Chats::All, Scope::Read, DEFAULT_LIFE));
        assert_eq!(parse(json!({ "expires_in": 86_400 })).unwrap().life, MAX_LIFE);
    }

    #[test]
    fn each_wrong_field_is_named() {
        let many: Vec<_> = (1..=101).collect();
        for (field, changes) in [
            ("user", json!({ "user": " " })),
            ("user", json!({ "user": "x".repeat(256) })),
            ("user", json!({ "user": null })),
            ("chats", json!({ "chats": null })),
            ("chats", json!({ "chats": [] })),
            ("chats", json!({ "chats": [0] })),
            ("chats", json!({ "chats": [4_294_967_296_u64] })),
            ("chats", json!({ "chats": many })),
            ("chats", json!({ "all_chats": true })),
            ("chats", json!({ "chats": null, "all_chats": false })),
            ("scopes", json!({ "scopes": [] })),
            ("scopes", json!({ "scopes": null })),
            ("scopes", json!({ "scopes": ["read", "admin"] })),
            ("scopes", json!({ "scopes": ["all"] })),
            ("expires_in", json!({ "expires_in": 0 })),
            ("expires_in", json!({ "expires_in": 86_401 })),
        ] {
            let problem = parse(changes.clone()).unwrap_err();
            assert!(format!("{problem:?}").contains(&format!("\"{field}\": [")), "{changes}: {problem:?}");
            assert_eq!(problem.into_response().status(), 422, "{changes}");
        }
    }
}
