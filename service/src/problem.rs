//! Refusals and failures as RFC 9457 has them: `application/problem+json` with a stable `code`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// When a client may try again after a failure that goes by on its own.
pub const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer that is not success.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: BTreeMap<String, Vec<String>>,
    parts: BTreeMap<&'static str, String>,
    retry_after: Option<Duration>,
}

/// The members on the wire.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always about:blank: `code` tells problems apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// For programs; never changes.
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

impl Problem {
    /// A problem. `code` is for programs and never changes; `detail` is for people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (errors, parts) = (BTreeMap::new(), BTreeMap::new());
        Self { status, code, detail: detail.into(), errors, parts, retry_after: None }
    }

    /// 404 `not-found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 400 `malformed-query`.
    pub fn malformed_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-query", detail)
    }

    /// 422 `invalid-fields`; say which with [`Problem::with_field_error`].
    pub fn invalid_fields() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields", "some fields are missing or not acceptable")
    }

    /// 503 with Retry-After: something that goes by on its own.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(RETRY_AFTER_FAILURE)
    }

    /// Adds what is wrong with a field; the message reads on after the field's name.
    #[must_use]
    pub fn with_field_error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.entry(field.into()).or_default().push(message.into());
        self
    }

    /// Adds what is wrong with each part of this process.
    #[must_use]
    pub fn with_parts(mut self, parts: BTreeMap<&'static str, String>) -> Self {
        self.parts = parts;
        self
    }

    /// Adds when to try again; sent in whole seconds, rounded up.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// The HTTP status.
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
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
