//! Errors as RFC 9457 problems: `application/problem+json` with a stable `code`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::JsonAnswer;

/// How long a client should wait after a temporary condition before it tries again.
pub const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error response.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: BTreeMap<String, Vec<String>>,
    parts: BTreeMap<&'static str, String>,
    retry_after_seconds: Option<u32>,
    accept_encoding: Option<&'static str>,
}

/// A problem as RFC 9457 defines it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always about:blank: `code` tells problems apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// For programs. Never changes.
    code: &'static str,
    /// For people.
    detail: String,
    /// What is wrong with each field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<String, Vec<String>>,
    /// What is wrong with each part of the process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    parts: BTreeMap<&'static str, String>,
}

/// Cuts a text of a client to a length that a problem may repeat. What is left out of the middle becomes an ellipsis.
pub(crate) fn shorten(text: &str) -> String {
    const HEAD_CHARACTERS: usize = 80;
    const TAIL_CHARACTERS: usize = 80;
    let count = text.chars().count();
    if count <= HEAD_CHARACTERS + TAIL_CHARACTERS {
        return text.to_owned();
    }
    let head = text.chars().take(HEAD_CHARACTERS);
    head.chain(['…']).chain(text.chars().skip(count - TAIL_CHARACTERS)).collect()
}

impl Problem {
    /// `code` is for programs and never changes; `detail` is for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            status,
            code,
            detail,
            errors: BTreeMap::new(),
            parts: BTreeMap::new(),
            retry_after_seconds: None,
            accept_encoding: None,
        }
    }

    /// 404 `not-found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 400 `malformed-query`.
    pub fn malformed_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-query", detail)
    }

    /// 422 `invalid-fields`. Add each error with [`Problem::with_field_error`].
    pub fn invalid_fields() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", "some fields are missing or not acceptable")
    }

    /// 503 with Retry-After, for a temporary condition.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(RETRY_AFTER_FAILURE)
    }

    /// Adds an error of a field. The message continues a sentence that begins with the field's name.
    #[must_use]
    pub fn with_field_error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.entry(field.into()).or_default().push(message.into());
        self
    }

    /// Adds the reasons why parts of this process are not ready.
    #[must_use]
    pub fn with_parts(mut self, parts: BTreeMap<&'static str, String>) -> Self {
        self.parts = parts;
        self
    }

    /// Adds Retry-After, in whole seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        self.retry_after_seconds = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    /// Adds Accept-Encoding: the content codings that a request may have (RFC 9110, section 15.5.16).
    #[must_use]
    pub const fn with_accept_encoding(mut self, codings: &'static str) -> Self {
        self.accept_encoding = Some(codings);
        self
    }

    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail,
            errors: self.errors,
            parts: self.parts,
        };
        let mut response = (self.status, JsonAnswer(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if let Some(codings) = self.accept_encoding {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        response
    }
}
