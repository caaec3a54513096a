//! The header traceparent of W3C Trace Context: the trace that a request belongs to.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use events::TraceParent;

const HEADER: &str = "traceparent";

/// The trace of a request, if it has one. A malformed header is ignored, as W3C Trace Context requires, because no command
/// depends on it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Trace {
    /// W3C Trace Context; it is kept with the event
    #[param(
        rename = "traceparent",
        value_type = String,
        required = false,
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )]
    pub(crate) trace: Option<TraceParent>,
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let trace = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
            // Several headers are ambiguous.
            _ => None,
        };
        Ok(Self { trace })
    }
}
