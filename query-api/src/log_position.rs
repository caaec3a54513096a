//! The header `Log-Position` of an answer: how far into the log what it shows goes.
//!
//! Sent back as `Await-Position`, it keeps a client from a step back: a further read shows the same events, or later ones.

use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use events::ClientPosition;
use serde::Serialize;
use service::answer::JsonAnswer;
use utoipa::{IntoResponses, ToSchema};

use crate::answer::Answer;

const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// A header with a position.
pub(crate) type LogPosition = Option<[(HeaderName, HeaderValue); 1]>;

/// The header of an answer that shows everything before `position`.
pub(crate) fn log_position(position: &ClientPosition) -> LogPosition {
    HeaderValue::try_from(position.to_string()).ok().map(|value| [(LOG_POSITION, value)])
}

/// The item
#[derive(IntoResponses)]
#[response(
    status = 200,
    headers(("Log-Position" = String, description = "Send it as Await-Position with a read that must not show less than this answer"))
)]
pub(crate) struct ItemResponse<T: ToSchema>(T, ClientPosition);

impl<T: ToSchema> From<Answer<T>> for ItemResponse<T> {
    fn from(answer: Answer<T>) -> Self {
        Self(answer.value, answer.position)
    }
}

impl<T: ToSchema + Serialize> IntoResponse for ItemResponse<T> {
    fn into_response(self) -> Response {
        let Self(item, position) = self;
        (log_position(&position), JsonAnswer(item)).into_response()
    }
}
