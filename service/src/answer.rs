//! JSON answers.

use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use thiserror_ext::AsReport;

use crate::codes::INTERNAL_ERROR;
use crate::problem::Problem;
use crate::request_id::current;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for most answers that are no lists.
const USUAL_BYTES: usize = 256;

/// An answer in JSON. It ends with a newline, so that whatever a terminal shows after it begins on a line of its own.
#[derive(Debug, Clone, Copy)]
pub struct JsonAnswer<T>(pub T);

impl<T: Serialize> IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => {
                body.push(b'\n');
                ([(CONTENT_TYPE, JSON)], body).into_response()
            }
            // Only a type that has no JSON fails, such as a map whose keys are no texts.
            Err(error) => {
                tracing::error!(request_id = current(), error = %error.as_report(), "an answer could not be written as JSON");
                let detail = "the answer could not be written";
                Problem::new(INTERNAL_ERROR, detail).into_response()
            }
        }
    }
}
