//! The header `Log-Position` of an answer: how far into the log what it shows goes.
//!
//! Sent back as `Await-Position`, it keeps a client from a step back: a further read shows the same events, or later ones.

use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use events::{Offset, PartitionId, Position};
use read_model::Shown;
use serde::Serialize;
use service::answer::JsonAnswer;
use utoipa::{IntoResponses, ToSchema};

const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// A header with a position.
pub(crate) type LogPosition = Option<[(HeaderName, HeaderValue); 1]>;

/// The header of an answer that shows everything before `position`.
pub(crate) fn log_position(position: &Position) -> LogPosition {
    let text = if position.partitions() == 0 {
        // A position without any partition has no text. Every log has the beginning of this one.
        Position::up_to(PartitionId(0), Offset::START).to_string()
    } else {
        position.to_string()
    };
    HeaderValue::try_from(text).ok().map(|value| [(LOG_POSITION, value)])
}

/// The item
#[derive(IntoResponses)]
#[response(
    status = 200,
    headers(("Log-Position" = String, description = "Send it as Await-Position with a read that must not show less than this answer"))
)]
pub(crate) struct ItemResponse<T: ToSchema>(T, Position);

impl<T: ToSchema> From<Shown<T>> for ItemResponse<T> {
    fn from(shown: Shown<T>) -> Self {
        Self(shown.value, shown.position)
    }
}

impl<T: ToSchema + Serialize> IntoResponse for ItemResponse<T> {
    fn into_response(self) -> Response {
        let Self(item, position) = self;
        (log_position(&position), JsonAnswer(item)).into_response()
    }
}
