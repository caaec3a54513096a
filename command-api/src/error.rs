//! Refusals as HTTP: the one place where an error of this API becomes a status.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use event_log::{AppendError, ReserveError};
use service::problem::{Problem, ProblemBody};
use thiserror_ext::AsReport;

use crate::application::ApplicationRefusal;
use crate::chat::ChatRefusal;
use crate::commands::CommandError;
use crate::event_store::CommitError;
use crate::executor::ExecuteError;
use crate::text::TextError;

/// What a handler answers instead of success.
#[derive(Debug)]
pub enum ApiError {
    /// The command was not carried out.
    Command(CommandError),
    /// A field's text is refused.
    Field {
        /// Which field.
        field: &'static str,
        /// Why.
        error: TextError,
    },
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = match &self {
            Self::Field { field, error } => Problem::invalid_fields().with_field_error(*field, error.to_string()),
            Self::Command(error) => command_problem(error),
        };
        if let Self::Command(error) = &self
            && problem.status().is_server_error()
        {
            tracing::warn!(status = problem.status().as_u16(), error = %error.as_report(), "a command was not carried out");
        }
        problem.into_response()
    }
}

fn command_problem(error: &CommandError) -> Problem {
    match error {
        CommandError::Application(ExecuteError::Refused(refusal)) => match refusal {
            ApplicationRefusal::UnknownApplication => unknown_application(),
            ApplicationRefusal::KeyReused => key_reused(),
            ApplicationRefusal::Numbers(error) => numbers_problem(error),
        },
        CommandError::Chat(ExecuteError::Refused(refusal)) => match refusal {
            ChatRefusal::UnknownApplication => unknown_application(),
            ChatRefusal::UnknownChat => Problem::not_found("there is no such chat"),
            ChatRefusal::KeyReused => key_reused(),
            ChatRefusal::Numbers(error) => numbers_problem(error),
        },
        CommandError::Application(ExecuteError::Commit(error)) | CommandError::Chat(ExecuteError::Commit(error)) => {
            commit_problem(error)
        }
        CommandError::Open(error) => numbers_problem(error),
        CommandError::Application(ExecuteError::Framework(_))
        | CommandError::Chat(ExecuteError::Framework(_))
        | CommandError::Interrupted(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "something went wrong here; whether the command was carried out is unknown",
        ),
    }
}

fn unknown_application() -> Problem {
    Problem::not_found("there is no such application")
}

fn key_reused() -> Problem {
    let detail = "this Idempotency-Key was used here with other values; send the first values, or another key";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
}

fn numbers_problem(error: &ReserveError) -> Problem {
    match error {
        ReserveError::Exhausted => Problem::new(
            StatusCode::CONFLICT,
            "numbers-exhausted",
            "all 4,294,967,295 numbers here are taken; start a new one",
        ),
        ReserveError::UnknownParent => Problem::not_found("there is no such parent"),
        ReserveError::KeyReused => key_reused(),
        ReserveError::Fencing => Problem::unavailable(
            "numbers-fencing",
            "numbers are being made safe after a loss, which takes some seconds; nothing was written; try again",
        ),
        ReserveError::Unavailable(_) => {
            Problem::unavailable("numbers-unavailable", "numbers cannot be given now; nothing was written; try again")
        }
    }
}

fn commit_problem(error: &CommitError) -> Problem {
    match error {
        CommitError::Append(AppendError::Overloaded) => {
            Problem::unavailable("overloaded", "too many writes are waiting; nothing was written; try again")
        }
        CommitError::Append(AppendError::Closed) => {
            Problem::unavailable("draining", "this process is stopping; nothing was written; try again")
        }
        CommitError::Append(AppendError::Unacknowledged(_)) | CommitError::LapsedAfter => Problem::unavailable(
            "log-unavailable",
            "the event log did not acknowledge the write in time; it may or may not have been written",
        ),
        CommitError::LogAway | CommitError::LapsedBefore => Problem::unavailable(
            "log-unavailable",
            "the event log cannot be written now; nothing was written; try again",
        ),
        CommitError::Encode(_) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "the event could not be encoded")
        }
    }
}

/// All 4,294,967,295 numbers are taken
#[derive(utoipa::IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NumbersExhausted(ProblemBody);
