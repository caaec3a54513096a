//! Failures as HTTP: the one place where an error of this API becomes a status.

use axum::response::{IntoResponse, Response};
use service::problem::{Problem, ProblemBody};
use service::telemetry::chain;

use crate::queries::QueryError;

/// What a handler answers instead of success.
#[derive(Debug)]
pub enum ApiError {
    /// The question has no answer.
    Query(QueryError),
    /// The question's parameters are malformed; what is wrong, in words.
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
            Self::Query(behind @ QueryError::Behind(_)) => {
                Problem::unavailable("projection-behind", behind.to_string())
            }
            Self::Query(QueryError::Views(_)) => {
                Problem::unavailable("views-unavailable", "the views cannot be read now; try again")
            }
            Self::Query(QueryError::Search(_)) => {
                Problem::unavailable("search-unavailable", "search cannot be asked now; try again")
            }
        };
        if let Self::Query(error @ (QueryError::Views(_) | QueryError::Search(_))) = &self {
            tracing::warn!(status = problem.status().as_u16(), error = %chain(error), "a question was not answered");
        }
        problem.into_response()
    }
}

/// What every route may refuse, for the API's description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum ReadProblems {
    /// What was read before has not changed (If-None-Match)
    #[response(status = 304)]
    NotModified,
    /// A malformed parameter or Await-Position
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] ProblemBody),
    /// Something that goes by on its own, such as a projection that is behind Await-Position; see Retry-After
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

/// What a route with variable parts in its path may refuse, for the API's description.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) enum PathProblems {
    /// There is no such application, chat or message
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(#[to_schema] ProblemBody),
}
