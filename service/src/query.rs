//! The parameters after the question mark.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A request's query; what cannot be read is 400 `malformed-query`.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Decoding further on replaces what is not UTF-8, and so would look for something else than was asked for.
        let sent = parts.uri.query().unwrap_or_default();
        if percent_decode_str(sent).decode_utf8().is_err() {
            return Err(Problem::malformed_query("the query is not UTF-8"));
        }
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::malformed_query(rejection.body_text())),
        }
    }
}
