//! The one place where an error of this API becomes a status.

use access::Refusal;
use access::codes::VIEWS_UNAVAILABLE;
use axum::response::{IntoResponse, Response};
use read_model::FeedError;
use service::codes::{DRAINING, OVERLOADED};
use service::problem::{Problem, RETRY_AFTER_FAILURE};
use service::request_id;
use thiserror_ext::AsReport;

use crate::codes::{POSITION_UNKNOWN, PROJECTION_BEHIND, SEARCH_UNAVAILABLE, TOO_MANY_STREAMS};
use crate::feed::bounds::TooManyListeners;
use crate::queries::QueryError;

/// The error of a handler.
#[derive(Debug)]
pub enum ApiError {
    Query(QueryError),
    /// A parameter is malformed. The text says which one and why.
    Malformed(String),
    /// A part of the request is not acceptable.
    Problem(Problem),
    /// Whoever was admitted may not go on.
    Refused(Refusal),
    Listeners(TooManyListeners),
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<TooManyListeners> for ApiError {
    fn from(error: TooManyListeners) -> Self {
        Self::Listeners(error)
    }
}

impl ApiError {
    /// The answer. Logs what an operator must see.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::Problem(problem) => problem,
            Self::Refused(refusal) => refusal.into_problem(),
            Self::Malformed(detail) => Problem::malformed_query(detail),
            Self::Listeners(crowded) => too_many_listeners(crowded),
            Self::Query(error) => query_problem(&error),
        }
    }
}

fn too_many_listeners(crowded: TooManyListeners) -> Problem {
    let detail = crowded.to_string();
    match crowded {
        TooManyListeners::All => Problem::unavailable(OVERLOADED, detail),
        TooManyListeners::Application(_) | TooManyListeners::Principal(_) => {
            Problem::new(TOO_MANY_STREAMS, detail).with_retry_after(RETRY_AFTER_FAILURE)
        }
    }
}

fn query_problem(error: &QueryError) -> Problem {
    let detail = error.to_string();
    let problem = match error {
        QueryError::Unknown(_) => return Problem::not_found(detail),
        QueryError::ProjectionBehind(_) => return Problem::unavailable(PROJECTION_BEHIND, detail),
        QueryError::Feed(being_made @ FeedError::BeingMade) => {
            return Problem::unavailable(PROJECTION_BEHIND, being_made.to_string());
        }
        QueryError::PositionUnknown => return position_unknown(),
        QueryError::TooManyWaits(_) | QueryError::TooManySearches(_) | QueryError::TooManyFeedReads(_) => {
            return Problem::unavailable(OVERLOADED, detail);
        }
        QueryError::Draining => return Problem::unavailable(DRAINING, detail),
        QueryError::Views(_)
        | QueryError::Access(_)
        | QueryError::Feed(FeedError::Backend { .. })
        | QueryError::Log(_) => Problem::unavailable(VIEWS_UNAVAILABLE, "the views cannot be read now; try again"),
        QueryError::Search(_) => Problem::unavailable(SEARCH_UNAVAILABLE, "search is not available now; try again"),
    };
    let (status, request_id) = (problem.status().as_u16(), request_id::current());
    tracing::warn!(request_id, status, error = %error.as_report(), "a query failed");
    problem
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.into_problem().into_response()
    }
}

/// The position that the client has sent is none of the log.
pub(crate) fn position_unknown() -> Problem {
    Problem::new(POSITION_UNKNOWN, QueryError::PositionUnknown.to_string())
}
