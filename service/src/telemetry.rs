//! Logs, and errors as one line.

use std::error::Error;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("`{filter}` is no log filter; write a level such as info, or directives such as info,projector=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set up logs in this process.
    #[error("logs are set up already")]
    Twice(#[source] Box<dyn Error + Send + Sync>),
}

/// Writes logs to standard error, in colour if that is a terminal.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(filter: &str) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(TelemetryError::Twice)
}

/// An error and its sources in one line. Errors here never print their source themselves.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}
