//! Errors as RFC 9457 problems: `application/problem+json` with a stable `code`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::JsonAnswer;
use crate::codes::bodies::INVALID_FIELDS;
use crate::codes::{Code, MALFORMED_QUERY, NOT_FOUND};
use crate::request_id::RequestId;

/// How long a client should wait after a temporary condition before it tries again.
pub const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(1);

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error response. Its contents are boxed, because every handler's result has room for a problem.
#[derive(Debug, Clone)]
pub struct Problem(Box<Contents>);

#[derive(Debug, Clone)]
struct Contents {
    code: Code,
    detail: String,
    errors: BTreeMap<String, Vec<String>>,
    parts: BTreeMap<&'static str, String>,
    number: Option<NonZeroU32>,
    retry_after_seconds: Option<u32>,
    accept_encoding: Option<&'static str>,
    challenge: Option<&'static str>,
}

/// A problem as RFC 9457 defines it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always about:blank: `code` tells problems apart.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For programs. A code never changes; later versions may answer further ones.
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
    /// The number of what is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false, minimum = 1)]
    number: Option<NonZeroU32>,
    /// The X-Request-Id of the answer. The server's log names the request by it if the server has failed, and every request with the
    /// request log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required, min_length = 1, max_length = 64)]
    request_id: Option<RequestId>,
}

/// Adds the id of its request to a response that is a problem. Other responses stay as they are.
pub(crate) fn add_request_id(response: &mut Response, id: &RequestId) {
    if let Some(mut body) = response.extensions_mut().remove::<ProblemBody>() {
        body.request_id = Some(id.clone());
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = JsonAnswer(body).into_response().into_body();
    }
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
    /// `code` is for programs, and has the status; `detail` is for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Contents {
            code,
            detail,
            errors: BTreeMap::new(),
            parts: BTreeMap::new(),
            number: None,
            retry_after_seconds: None,
            accept_encoding: None,
            challenge: None,
        }))
    }

    /// 404 `not-found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(NOT_FOUND, detail)
    }

    /// 400 `malformed-query`.
    pub fn malformed_query(detail: impl Into<String>) -> Self {
        Self::new(MALFORMED_QUERY, detail)
    }

    /// 422 `invalid-fields`. Add each error with [`Problem::with_field_error`].
    pub fn invalid_fields() -> Self {
        Self::new(INVALID_FIELDS, "some fields are missing or not acceptable")
    }

    /// A problem with Retry-After, for a temporary condition; `code` has the status 503.
    pub fn unavailable(code: Code, detail: impl Into<String>) -> Self {
        Self::new(code, detail).with_retry_after(RETRY_AFTER_FAILURE)
    }

    /// Adds an error of a field. The message continues a sentence that begins with the field's name.
    #[must_use]
    pub fn with_field_error(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.errors.entry(field.into()).or_default().push(message.into());
        self
    }

    /// Adds errors of fields, each as [`Problem::with_field_error`] does.
    #[must_use]
    pub fn with_field_errors<F: Into<String>, M: Into<String>>(self, errors: impl IntoIterator<Item = (F, M)>) -> Self {
        errors.into_iter().fold(self, |problem, (field, message)| problem.with_field_error(field, message))
    }

    /// Adds the reasons why parts of this process are not ready.
    #[must_use]
    pub fn with_parts(mut self, parts: BTreeMap<&'static str, String>) -> Self {
        self.0.parts = parts;
        self
    }

    /// Adds the number of what is there already.
    #[must_use]
    pub fn with_number(mut self, number: u32) -> Self {
        self.0.number = NonZeroU32::new(number);
        self
    }

    /// Adds Retry-After, in whole seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        self.0.retry_after_seconds = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    /// Adds Accept-Encoding: the content codings that a request may have (RFC 9110, section 15.5.16).
    #[must_use]
    pub fn with_accept_encoding(mut self, codings: &'static str) -> Self {
        self.0.accept_encoding = Some(codings);
        self
    }

    /// Adds WWW-Authenticate: what a client has to send that its request lacks (RFC 9110, section 11.6.1).
    #[must_use]
    pub fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.code.status
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl ProblemBody {
    /// What all problems with this code have in common, with the meaning of the code for its detail. As it is, it is an example for
    /// OpenAPI.
    pub fn of(code: Code) -> Self {
        Self {
            r#type: "about:blank",
            title: code.status.canonical_reason().unwrap_or("Unknown"),
            status: code.status.as_u16(),
            code: code.name,
            detail: code.meaning.to_owned(),
            errors: BTreeMap::new(),
            parts: BTreeMap::new(),
            number: None,
            request_id: None,
        }
    }

    /// Adds the number of what is there already.
    #[must_use]
    pub fn with_number(self, number: u32) -> Self {
        Self { number: NonZeroU32::new(number), ..self }
    }

    /// Adds the reason why a part of the process is not ready.
    #[must_use]
    pub fn with_part(self, name: &'static str, reason: &str) -> Self {
        Self { parts: BTreeMap::from([(name, reason.to_owned())]), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let contents = *self.0;
        let body = ProblemBody {
            detail: contents.detail,
            errors: contents.errors,
            parts: contents.parts,
            number: contents.number,
            ..ProblemBody::of(contents.code)
        };
        let mut response = (contents.code.status, JsonAnswer(&body)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        // The id of the request is not known here; see `add_request_id`.
        response.extensions_mut().insert(body);
        if let Some(seconds) = contents.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if let Some(codings) = contents.accept_encoding {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        if let Some(challenge) = contents.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
