//! The header Idempotency-Key, with which a client may repeat a POST without a second effect.
//!
//! It follows the IETF draft "The Idempotency-Key HTTP Header Field"; the quotes of a structured field may be left out.

use access::Principal;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use events::RequestKey;
use service::problem::Problem;

use crate::codes::MALFORMED_IDEMPOTENCY_KEY;

/// A shorter key could be guessed, or be used twice by chance.
const MIN_CHARACTERS: usize = 16;
/// Where neither an application nor a principal scopes the key: whoever sends the same key and name is answered the application's token.
const MIN_CHARACTERS_OF_APPLICATIONS: usize = 32;
const MAX_CHARACTERS: usize = 255;
const HEADER: &str = "idempotency-key";

/// A client's key: 16 to 255 visible ASCII characters, quotes not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "send one Idempotency-Key of {MIN_CHARACTERS} to {MAX_CHARACTERS} visible ASCII characters, such as a random UUID"
)]
pub struct MalformedKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "send an Idempotency-Key of {MIN_CHARACTERS_OF_APPLICATIONS} to {MAX_CHARACTERS} visible ASCII characters, such as a \
     random UUID: whoever sends the same key and name gets the application's token"
)]
struct GuessableKey;

impl IdempotencyKey {
    /// Identifies a request with this key by its route and the values of its fields.
    pub fn request_key(&self, route: &[&str], values: &[&str]) -> RequestKey {
        RequestKey::new(route, &self.0, values)
    }

    /// Reads the key from `headers`; `None` without the header.
    ///
    /// # Errors
    /// If the header is there more than once, or is malformed.
    pub fn in_headers(headers: &HeaderMap) -> Result<Option<Self>, MalformedKey> {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map_err(|_| MalformedKey).and_then(Self::parse).map(Some),
            (Some(_), Some(_)) => Err(MalformedKey),
        }
    }

    fn parse(value: &str) -> Result<Self, MalformedKey> {
        let value = value.trim();
        let key = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let is_key =
            (MIN_CHARACTERS..=MAX_CHARACTERS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key { Ok(Self(key.to_owned())) } else { Err(MalformedKey) }
    }
}

/// The key of a request, if it has one. A malformed key is 400 `malformed-idempotency-key`.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKeyHeader {
    /// The same key, route and values within 24 h get the first answer again; other values get 422. 16 to 255 visible ASCII
    /// characters; quotes around them may be left out, and do not count
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        pattern = "^(\"[!-~]{16,255}\"|[!#-~][!-~]{15,254})$",
        example = "8d3c5b1a-6f0e-4c29-9a57-2b41c0d7e6f3"
    )]
    pub(crate) key: Option<IdempotencyKey>,
}

/// Describes the key of a request that creates a chat for OpenAPI. It has no values that could be others.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "handlers read IdempotencyKeyHeader")]
pub(crate) struct IdempotencyKeyOfChats {
    /// The same key within 24 h gets the first answer again, and no second chat. 16 to 255 visible ASCII characters; quotes around them
    /// may be left out, and do not count
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        pattern = "^(\"[!-~]{16,255}\"|[!#-~][!-~]{15,254})$",
        example = "8d3c5b1a-6f0e-4c29-9a57-2b41c0d7e6f3"
    )]
    key: Option<String>,
}

/// Describes the key of a request that issues a key of an application for OpenAPI. Its answer is not repeated.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "handlers read IdempotencyKeyHeader")]
pub(crate) struct IdempotencyKeyOfKeys {
    /// The same Idempotency-Key and values within 24 h issue no second key, and get 409 with the number of the first, because a secret
    /// is shown once; other values get 422. 16 to 255 visible ASCII characters; quotes around them may be left out, and do not count
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        pattern = "^(\"[!-~]{16,255}\"|[!#-~][!-~]{15,254})$",
        example = "8d3c5b1a-6f0e-4c29-9a57-2b41c0d7e6f3"
    )]
    key: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        IdempotencyKey::in_headers(&parts.headers).map(|key| Self { key }).map_err(|malformed| bad_request(&malformed))
    }
}

fn bad_request(error: &impl std::error::Error) -> Problem {
    Problem::new(MALFORMED_IDEMPOTENCY_KEY, error.to_string())
}

/// The key of a request that creates an application, if it has one. A malformed or short key is 400
/// `malformed-idempotency-key`.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKeyOfApplications {
    /// The same key and name within 24 h get the first answer again, and so the token; another name gets 422
    #[param(
        rename = "Idempotency-Key",
        value_type = String,
        required = false,
        min_length = 32,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "8d3c5b1a-6f0e-4c29-9a57-2b41c0d7e6f3"
    )]
    pub(crate) key: Option<IdempotencyKey>,
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKeyOfApplications {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IdempotencyKeyHeader { key } = IdempotencyKeyHeader::from_request_parts(parts, state).await?;
        match &key {
            // With the root key, nobody but its holder can repeat the request.
            Some(IdempotencyKey(short))
                if short.len() < MIN_CHARACTERS_OF_APPLICATIONS
                    && parts.extensions.get::<Principal>() != Some(&Principal::Root) =>
            {
                Err(bad_request(&GuessableKey))
            }
            _ => Ok(Self { key }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        let key = "0123456789abcdef";
        let parsed = IdempotencyKey::parse(key).unwrap();
        assert_eq!(IdempotencyKey::parse(&format!("\"{key}\"")), Ok(parsed.clone()));
        assert_eq!(IdempotencyKey::parse(&format!(" {key} ")), Ok(parsed));
        assert!(IdempotencyKey::parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn anything_else_is_malformed() {
        for value in
            ["", "\"\"", "0123456789abcde", "\"0123456789abcde\"", "0123456789 abcdef", "0123456789abcdé\u{7f}"]
        {
            assert_eq!(IdempotencyKey::parse(value), Err(MalformedKey), "{value:?}");
        }
        assert_eq!(IdempotencyKey::parse(&"x".repeat(256)), Err(MalformedKey));
    }
}
