//! The one place where an error of this API becomes a status.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event_log::{AppendError, ReserveError};
use service::problem::{Problem, ProblemBody};
use thiserror_ext::AsReport;

use crate::application::ApplicationRefusal;
use crate::commands::CommandError;
use crate::text::TextError;
use crate::writer::WriteError;

/// The error of a handler.
#[derive(Debug)]
pub enum ApiError {
    Command(CommandError),
    Field {
        field: &'static str,
        error: TextError,
    },
    /// The request has members that are unknown.
    Unknown(Box<Problem>),
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<Problem> for ApiError {
    fn from(unknown: Problem) -> Self {
        Self::Unknown(Box::new(unknown))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = match &self {
            Self::Field { field, error } => Problem::invalid_fields().with_field_error(*field, error.to_string()),
            Self::Unknown(problem) => (**problem).clone(),
            Self::Command(error) => command_problem(error),
        };
        if let Self::Command(error) = &self
            && problem.status().is_server_error()
        {
            tracing::warn!(status = problem.status().as_u16(), error = %error.as_report(), "a command failed");
        }
        problem.into_response()
    }
}

fn command_problem(error: &CommandError) -> Problem {
    let (error, parent) = match error {
        CommandError::CreateApplication(error)
        | CommandError::RenameApplication(error)
        | CommandError::CreateChat(error) => (error, "application"),
        CommandError::PostMessage(error) => (error, "chat"),
    };
    match error {
        WriteError::Refused(ApplicationRefusal::UnknownApplication) => unknown("application"),
        WriteError::LookUp(error) | WriteError::Reserve(error) => reserve_problem(error, parent),
        WriteError::Open(error) => reserve_problem(error, "parent"),
        WriteError::Append(error) => append_problem(error),
        WriteError::LapsedDuringAppend => unacknowledged(),
        WriteError::LogAway | WriteError::LapsedBeforeAppend => not_written(),
        WriteError::Encode(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "the event could not be encoded")
        }
        WriteError::Interrupted(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "the server failed; whether the command was carried out is unknown",
        ),
    }
}

fn unknown(parent: &str) -> Problem {
    Problem::not_found(format!("there is no such {parent}"))
}

fn reserve_problem(error: &ReserveError, parent: &str) -> Problem {
    match error {
        ReserveError::UnknownParent => unknown(parent),
        ReserveError::Exhausted => Problem::new(
            StatusCode::CONFLICT,
            "numbers-exhausted",
            format!("all 4,294,967,295 numbers of this {parent} are taken; create another {parent}"),
        ),
        ReserveError::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "this Idempotency-Key was used on this route with other values; send the first values, or another key",
        ),
        ReserveError::Fencing => Problem::unavailable(
            "numbers-fencing",
            "numbers are being recovered after a loss, which takes some seconds; nothing was written; try again",
        ),
        ReserveError::Unavailable(_) => numbers_unavailable(),
    }
}

fn numbers_unavailable() -> Problem {
    Problem::unavailable("numbers-unavailable", "numbers cannot be reserved now; nothing was written; try again")
}

fn append_problem(error: &AppendError) -> Problem {
    match error {
        AppendError::Overloaded => {
            Problem::unavailable("overloaded", "too many writes are waiting; nothing was written; try again")
        }
        AppendError::Closed => {
            Problem::unavailable("draining", "this process is stopping; nothing was written; try again")
        }
        AppendError::Importing => Problem::unavailable(
            "log-unavailable",
            "an import into this system has not ended; nothing was written; try again later",
        ),
        AppendError::NumberTaken { .. } => numbers_unavailable(),
        AppendError::NotWritten(_) => not_written(),
        AppendError::Unacknowledged(_) | AppendError::UnknownPartition(_) => unacknowledged(),
    }
}

fn not_written() -> Problem {
    Problem::unavailable("log-unavailable", "the event log cannot be written now; nothing was written; try again")
}

fn unacknowledged() -> Problem {
    Problem::unavailable(
        "log-unavailable",
        "the event log did not acknowledge the write in time; it may or may not have been written",
    )
}

/// All 4,294,967,295 numbers are taken
#[derive(utoipa::IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NumbersExhausted(ProblemBody);
