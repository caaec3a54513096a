//! The one place where an error of this API becomes a status.

use access::codes::VIEWS_UNAVAILABLE;
use axum::response::{IntoResponse, Response};
use event_log::{AppendError, ReserveError};
use events::text::TextError;
use service::codes::{DRAINING, INTERNAL_ERROR, OVERLOADED};
use service::problem::{Problem, ProblemBody};
use service::request_id;
use thiserror_ext::AsReport;

use crate::application::ApplicationRefusal;
use crate::codes::{
    IDEMPOTENCY_KEY_REUSED, LOG_UNAVAILABLE, NUMBERS_EXHAUSTED, NUMBERS_FENCING, NUMBERS_UNAVAILABLE, SECRET_LOST,
    SECRET_SHOWN,
};
use crate::commands::CommandError;
use crate::keys::KeyError;
use crate::writer::WriteError;

/// The error of a handler.
#[derive(Debug)]
pub enum ApiError {
    Command(CommandError),
    Key(KeyError),
    /// What is wrong with each field that is.
    Fields(Vec<(&'static str, TextError)>),
    /// A refusal that is a problem already. Whoever made it has logged what an operator must see.
    Problem(Problem),
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Command(error) => Self::Command(error),
            error => Self::Key(error),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Fields(errors) => {
                let errors = errors.iter().map(|(field, error)| (*field, error.to_string()));
                Problem::invalid_fields().with_field_errors(errors).into_response()
            }
            Self::Command(error) => answer(command_problem(&error), &error),
            Self::Key(error) => answer(key_problem(&error), &error),
        }
    }
}

/// Logs what an operator must see.
fn answer(problem: Problem, error: &impl AsReport) -> Response {
    if problem.status().is_server_error() {
        let (status, request_id) = (problem.status().as_u16(), request_id::current());
        tracing::warn!(request_id, status, error = error.to_report_string(), "a command failed");
    }
    problem.into_response()
}

fn command_problem(error: &CommandError) -> Problem {
    let (error, parent) = match error {
        CommandError::CreateApplication(error)
        | CommandError::RenameApplication(error)
        | CommandError::CreateChat(error)
        | CommandError::IssueKey(error)
        | CommandError::RevokeKey(error)
        | CommandError::VoidUserTokens(error) => (error, "application"),
        CommandError::PostMessage(error) => (error, "chat"),
    };
    match error {
        WriteError::Refused(ApplicationRefusal::UnknownApplication) => unknown("application"),
        WriteError::LookUp(error) | WriteError::Reserve(error) => reserve_problem(error, parent),
        WriteError::Open(error) => reserve_problem(error, "parent"),
        WriteError::Append(error) => append_problem(error),
        WriteError::LapsedDuringAppend => unacknowledged(),
        WriteError::LogAway | WriteError::Identify(_) | WriteError::LapsedBeforeAppend => not_written(),
        WriteError::Encode(_) => Problem::new(INTERNAL_ERROR, "the event could not be encoded"),
        WriteError::Interrupted(_) => {
            Problem::new(INTERNAL_ERROR, "the server failed; whether the command was carried out is unknown")
        }
    }
}

fn key_problem(error: &KeyError) -> Problem {
    match error {
        KeyError::Command(error) => command_problem(error),
        KeyError::LookUp(_) => {
            Problem::unavailable(VIEWS_UNAVAILABLE, "keys cannot be read now; nothing was written; try again")
        }
        KeyError::Identify(_) => Problem::unavailable(LOG_UNAVAILABLE, "the event log cannot be read now; try again"),
        KeyError::UnknownKey => unknown("key"),
        KeyError::KeyReused => key_reused(),
        KeyError::SecretShown(number) => Problem::new(
            SECRET_SHOWN,
            format!(
                "this request has issued key {number} before, and its secret was shown or lost; if you do not have it, revoke the key and \
                 issue another under another Idempotency-Key"
            ),
        )
        .with_number(number.get()),
        // Without Retry-After: the same request again would issue another key.
        KeyError::ReadIssued(_) | KeyError::ViewsBehind | KeyError::TooManyWaits(_) => {
            Problem::new(SECRET_LOST, SECRET_LOST_DETAIL)
        }
    }
}

/// The key is in the log, and nobody can find out its secret.
const SECRET_LOST_DETAIL: &str = "the key was issued, but could not be read in time, so its secret is lost; do not send the request again: once the \
                           list of keys shows the new key, the newest of this name, revoke it and issue another";

fn unknown(parent: &str) -> Problem {
    Problem::not_found(format!("there is no such {parent}"))
}

fn reserve_problem(error: &ReserveError, parent: &str) -> Problem {
    match error {
        ReserveError::UnknownParent => unknown(parent),
        ReserveError::Exhausted => Problem::new(
            NUMBERS_EXHAUSTED,
            format!("all 4,294,967,295 numbers of this {parent} are taken; create another {parent}"),
        ),
        ReserveError::KeyReused => key_reused(),
        ReserveError::Fencing => Problem::unavailable(
            NUMBERS_FENCING,
            "numbers are being recovered after a loss, which takes some seconds; nothing was written; try again",
        ),
        ReserveError::Unavailable(_) => numbers_unavailable(),
    }
}

fn key_reused() -> Problem {
    Problem::new(
        IDEMPOTENCY_KEY_REUSED,
        "this Idempotency-Key was used on this route with other values; send the first values, or another key",
    )
}

fn numbers_unavailable() -> Problem {
    Problem::unavailable(NUMBERS_UNAVAILABLE, "numbers cannot be reserved now; nothing was written; try again")
}

fn append_problem(error: &AppendError) -> Problem {
    match error {
        AppendError::Overloaded => {
            Problem::unavailable(OVERLOADED, "too many writes are waiting; nothing was written; try again")
        }
        AppendError::Closed => {
            Problem::unavailable(DRAINING, "this process is stopping; nothing was written; try again")
        }
        AppendError::Importing => Problem::unavailable(
            LOG_UNAVAILABLE,
            "an import into this system has not ended; nothing was written; try again later",
        ),
        AppendError::NumberTaken { .. } => numbers_unavailable(),
        AppendError::NotWritten(_) => not_written(),
        AppendError::Unacknowledged(_) | AppendError::UnknownPartition(_) => unacknowledged(),
    }
}

fn not_written() -> Problem {
    Problem::unavailable(LOG_UNAVAILABLE, "the event log cannot be written now; nothing was written; try again")
}

fn unacknowledged() -> Problem {
    Problem::unavailable(
        LOG_UNAVAILABLE,
        "the event log did not acknowledge the write in time; it may or may not have been written",
    )
}

/// All 4,294,967,295 numbers are taken
#[derive(utoipa::IntoResponses)]
#[response(status = 409, content_type = "application/problem+json")]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct NoNumbersLeft(ProblemBody);

/// An earlier attempt with this Idempotency-Key has issued the key; `number` names it
#[derive(utoipa::IntoResponses)]
#[response(status = 409, content_type = "application/problem+json", example = json!(ProblemBody::of(SECRET_SHOWN).with_number(1)))]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct KeyIssuedBefore(ProblemBody);
