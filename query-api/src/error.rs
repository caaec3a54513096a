//! The one place where an error of this API becomes a status.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use service::problem::Problem;
use thiserror_ext::AsReport;

use crate::queries::QueryError;

/// The error of a handler.
#[derive(Debug)]
pub enum ApiError {
    Query(QueryError),
    /// A parameter is malformed. The text says which one and why.
    Malformed(String),
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = match &self {
            Self::Malformed(detail) => Problem::malformed_query(detail),
            Self::Query(unknown @ QueryError::Unknown(_)) => Problem::not_found(unknown.to_string()),
            Self::Query(behind @ QueryError::ProjectionBehind(_)) => {
                Problem::unavailable("projection-behind", behind.to_string())
            }
            Self::Query(unknown @ QueryError::PositionUnknown) => {
                Problem::new(StatusCode::CONFLICT, "position-unknown", unknown.to_string())
            }
            Self::Query(crowded @ (QueryError::TooManyWaits(_) | QueryError::TooManySearches(_))) => {
                Problem::unavailable("overloaded", crowded.to_string())
            }
            Self::Query(draining @ QueryError::Draining) => Problem::unavailable("draining", draining.to_string()),
            Self::Query(QueryError::Views(_) | QueryError::Log(_)) => {
                Problem::unavailable("views-unavailable", "the views cannot be read now; try again")
            }
            Self::Query(QueryError::Search(_)) => {
                Problem::unavailable("search-unavailable", "search is not available now; try again")
            }
        };
        if let Self::Query(error @ (QueryError::Views(_) | QueryError::Log(_) | QueryError::Search(_))) = &self {
            tracing::warn!(status = problem.status().as_u16(), error = %error.as_report(), "a query failed");
        }
        problem.into_response()
    }
}
