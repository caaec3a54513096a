//! The routes that issue and revoke keys.

use access::Principal;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use events::{ClientPosition, KeyNumber, Scope, Scopes, UnixMillis, rfc3339};
use read_model::AccessKey;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use service::answer::JsonAnswer;
use service::json::{Json, Object};
use service::path::{Path, parse};
use service::prefer::{Handling, HandlingPreference};
use service::problem::Problem;
use service::query::{NoParameters, Query};
use service::responses::{BodyProblems, Malformed, MalformedHead, NotFound, Unavailable};
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Done, LOG_POSITION, TokenPath};
use crate::application::NewKey;
use crate::commands::Caller;
use crate::error::{ApiError, KeyIssuedBefore};
use crate::idempotency_key::{IdempotencyKeyHeader, IdempotencyKeyOfKeys};
use crate::keys::{Issued, Keys};
use crate::text::Name;
use crate::trace::Trace;

/// The answer has a secret, so nobody may keep it.
pub(super) const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

pub(super) fn routes(keys: Keys) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(issue_key)).routes(routes!(revoke_key)).with_state(keys)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct KeyPath {
    /// The key's number
    #[param(value_type = u32, minimum = 1, example = 1)]
    #[serde(deserialize_with = "parse")]
    key: KeyNumber,
}

// `Json` and `Object` check for unknown members. The attribute says so in the description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    #[schema(value_type = KeyFields)]
    key: Object<KeyFields>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read-only members are accepted, so that what GET answered may be sent back")]
struct KeyFields {
    /// For people. Not blank, without U+0000.
    #[serde(default)]
    #[schema(value_type = String, required, max_length = 255, pattern = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$")]
    name: Option<String>,
    /// What the key may do. Each of read, write and admin includes those before it.
    #[serde(default)]
    #[schema(value_type = Vec<ScopeName>, required, min_items = 1)]
    scopes: Option<Vec<String>>,
    /// From when on the key is of no use; never, if it is absent or null. It lies in the future.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<u32>, read_only)]
    number: IgnoredAny,
    /// Ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, read_only)]
    created_at: IgnoredAny,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(as = Scope, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum ScopeName {
    Read,
    Write,
    Admin,
}

#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "number": 1,
    "name": "backend",
    "scopes": ["write"],
    "created_at": "2026-07-01T09:30:00.123Z",
    "expires_at": null,
    "secret": "tally_AAAAAAAAAAqR7cXk2mVw9sBtH4zLfNpYe6uD1gJiQa0"
}))]
pub(super) struct IssuedKey {
    /// Its number within the application.
    #[schema(value_type = u32, minimum = 1)]
    number: KeyNumber,
    name: String,
    #[schema(value_type = Vec<ScopeName>)]
    scopes: Scopes,
    #[schema(value_type = String, format = DateTime)]
    created_at: Option<String>,
    #[schema(value_type = Option<String>, required, format = DateTime)]
    expires_at: Option<String>,
    /// What its holder sends as `Authorization: Bearer`. It is shown in this answer only.
    #[schema(pattern = "^tally_[A-Za-z0-9_-]+$")]
    secret: String,
}

/// Issued
#[derive(IntoResponses)]
#[response(
    status = 201,
    headers(
        ("Cache-Control" = String, description = "no-store"),
        ("Log-Position" = String, description = "Send it as Await-Position with a read that must show this write")
    )
)]
struct IssuedResponse(IssuedKey, ClientPosition);

impl IntoResponse for IssuedResponse {
    fn into_response(self) -> Response {
        let Self(issued, position) = self;
        (StatusCode::CREATED, [NO_STORE], [(LOG_POSITION, position.to_string())], JsonAnswer(issued)).into_response()
    }
}

/// Issues a key under the next number of its application. Its secret is shown once: a retry is 409.
#[utoipa::path(
    post,
    path = "/api/v1/chat_applications/{token}/keys",
    operation_id = "issueKey",
    tag = "keys",
    request_body(content = KeyRequest, example = json!({ "key": { "name": "backend", "scopes": ["write"] } })),
    params(TokenPath, IdempotencyKeyOfKeys, Trace, HandlingPreference),
    responses(IssuedResponse, Malformed, NotFound, KeyIssuedBefore, BodyProblems, Unavailable)
)]
#[expect(clippy::too_many_arguments, reason = "every extractor is an argument")]
async fn issue_key(
    State(keys): State<Keys>,
    Path(TokenPath { token }): Path<TokenPath>,
    IdempotencyKeyHeader { key }: IdempotencyKeyHeader,
    Trace { trace }: Trace,
    principal: Principal,
    handling: Handling,
    _: Query<NoParameters>,
    Json(request): Json<KeyRequest>,
) -> Result<IssuedResponse, ApiError> {
    let caller = Caller { trace, actor: principal.actor() };
    let new = parse_key(request.key.known(handling)?, UnixMillis::now())?;
    let Issued { key, secret, position } = keys.issue(token, new, key.as_ref(), caller).await?;
    let AccessKey { number, name, scopes, created_at, expires_at, .. } = key;
    let (created_at, expires_at) = (rfc3339::format(created_at), expires_at.and_then(rfc3339::format));
    let issued = IssuedKey { number, name, scopes, created_at, expires_at, secret: secret.into_string() };
    Ok(IssuedResponse(issued, position))
}

/// Revokes a key, unless it is revoked already. It is of no use some seconds later, everywhere.
#[utoipa::path(
    delete,
    path = "/api/v1/chat_applications/{token}/keys/{key}",
    operation_id = "revokeKey",
    tag = "keys",
    params(TokenPath, KeyPath, Trace, HandlingPreference),
    responses(Done, MalformedHead, NotFound, Unavailable)
)]
async fn revoke_key(
    State(keys): State<Keys>,
    Path(TokenPath { token }): Path<TokenPath>,
    Path(KeyPath { key }): Path<KeyPath>,
    Trace { trace }: Trace,
    principal: Principal,
    _: Query<NoParameters>,
) -> Result<Response, ApiError> {
    let caller = Caller { trace, actor: principal.actor() };
    Ok(Done::at(&keys.revoke(token, key, caller).await?))
}

/// Checks the fields. Names every one that is wrong.
fn parse_key(fields: KeyFields, now: UnixMillis) -> Result<NewKey, Problem> {
    let name = Name::new(fields.name.unwrap_or_default()).map_err(|error| ("name", error.to_string()));
    let scopes = parse_scopes(&fields.scopes.unwrap_or_default()).map_err(|message| ("scopes", message.to_owned()));
    let expires_at = fields.expires_at.map(|text| parse_end(&text, now)).transpose();
    let expires_at = expires_at.map_err(|message| ("expires_at", message.to_owned()));
    match (name, scopes, expires_at) {
        (Ok(name), Ok(scopes), Ok(expires_at)) => Ok(NewKey { name, scopes, expires_at }),
        (name, scopes, expires_at) => {
            let errors = [name.err(), scopes.err(), expires_at.err()].into_iter().flatten();
            Err(Problem::invalid_fields().with_field_errors(errors))
        }
    }
}

fn parse_scopes(names: &[String]) -> Result<Scopes, &'static str> {
    let scopes: Result<Vec<Scope>, _> = names.iter().map(|name| name.parse()).collect();
    scopes.and_then(Scopes::new).map_err(|_| "must be a list of one or more of read, write and admin")
}

fn parse_end(text: &str, now: UnixMillis) -> Result<UnixMillis, &'static str> {
    let end = rfc3339::parse_any(text).ok_or("must be a time of RFC 3339, such as 2030-01-01T00:00:00Z, or null")?;
    if end > now { Ok(end) } else { Err("must lie in the future") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_782_898_200_123);

    fn parse(json: &str) -> Result<NewKey, Problem> {
        parse_key(serde_json::from_str(json).unwrap(), NOW)
    }

    #[test]
    fn a_key_has_a_name_scopes_and_perhaps_an_end() {
        let key =
            parse(r#"{"name":"Büro","scopes":["write","read","write"],"expires_at":"2026-07-01T11:30:00.124+02:00"}"#);
        let key = key.unwrap();
        assert_eq!((key.name.as_str(), key.scopes.to_string().as_str()), ("Büro", "read,write"));
        assert_eq!(key.expires_at, Some(UnixMillis(NOW.0 + 1)));
        assert_eq!(parse(r#"{"name":"a","scopes":["admin"],"expires_at":null}"#).unwrap().expires_at, None);
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (json, fields) in [
            (r#"{}"#, ["name", "scopes"].as_slice()),
            (r#"{"name":" ","scopes":[],"expires_at":"soon"}"#, &["name", "scopes", "expires_at"]),
            (r#"{"name":"a","scopes":["owner"]}"#, &["scopes"]),
            (r#"{"name":"a","scopes":["read"],"expires_at":"2026-07-01T09:30:00.123Z"}"#, &["expires_at"]),
        ] {
            let problem = format!("{:?}", parse(json).unwrap_err());
            for field in ["name", "scopes", "expires_at"] {
                assert_eq!(problem.contains(&format!("\"{field}\":")), fields.contains(&field), "{json} {problem}");
            }
        }
    }
}
