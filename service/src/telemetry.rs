//! Logs.

mod repeats;

use std::error::Error;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use self::repeats::Repeats;
use crate::config::LogFormat;
use crate::{request_id, request_log};

/// The counts of lines that are left out, once logs are set up.
static REPEATS: OnceLock<Repeats> = OnceLock::new();

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`{filter}` is no log filter; write a level such as info, or directives such as info,projector=debug")]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("`{directive}` is no log level; write error, warn, info, debug, trace or off, or target=level")]
    Level { directive: String },
    #[error("logs are set up already")]
    Twice(#[source] Box<dyn Error + Send + Sync>),
    #[error("the thread that sums up repeated lines cannot be started; is the limit of threads reached?")]
    Summaries(#[source] std::io::Error),
}

/// Writes logs and panics to standard error. Writes a repeated line once a minute, then the number of its repeats, and at most
/// four different lines a minute of each place in the code (100 panics; of the request log all, if the filter names it). Text is in colour if standard error is a terminal and
/// NO_COLOR is not set.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    request_log::follow(filter);
    let filter = parse_filter(filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    // A line that cannot be written is lost. Reporting that on standard error, as is the default, would panic.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let repeats = Repeats::default();
    let logs = registry().with(filter).with(repeats.clone());
    let started = if format == LogFormat::Json || format == LogFormat::Auto && !is_terminal {
        logs.with(lines.json().flatten_event(true)).try_init()
    } else {
        logs.with(lines.with_ansi(is_terminal && !refuses_colour(std::env::var_os("NO_COLOR").as_deref()))).try_init()
    };
    started.map_err(|error| TelemetryError::Twice(error.into()))?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(target: repeats::PANIC_TARGET, request_id = request_id::current(), "{panic}");
    }));
    let repeats = REPEATS.get_or_init(|| repeats);
    std::thread::Builder::new()
        .name("log summaries".to_owned())
        .spawn(|| {
            loop {
                std::thread::sleep(repeats::INTERVAL);
                repeats.summarize();
            }
        })
        .map_err(TelemetryError::Summaries)?;
    Ok(())
}

/// Writes how many lines were left out since the last summary. Call it at the end of the process.
pub fn finish() {
    if let Some(repeats) = REPEATS.get() {
        repeats.summarize();
    }
}

/// Whether the user wants no colour (<https://no-color.org>): the variable is set and not empty.
fn refuses_colour(no_color: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

/// Parses the filter of logs.
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    refuse_misspelt_level(filter)?;
    EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

/// Refuses a misspelt or missing level. `EnvFilter` would take the word for a target, and turn off all logs.
fn refuse_misspelt_level(filter: &str) -> Result<(), TelemetryError> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let is_misspelt = |directive: &&str| directive.ends_with('=') || !directive.contains('=') && !is_level(directive);
    let misspelt = filter.split(',').find(is_misspelt);
    misspelt.map_or(Ok(()), |directive| Err(TelemetryError::Level { directive: directive.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_counts_unless_it_is_empty() {
        assert!(refuses_colour(Some(OsStr::new("1"))));
        assert!(!refuses_colour(Some(OsStr::new(""))));
        assert!(!refuses_colour(None));
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for filter in ["info", "WARN", "off", "info,projector=debug", "a=trace,b=off"] {
            assert!(refuse_misspelt_level(filter).is_ok(), "{filter}");
        }
        for filter in ["inof", "", "info,", "projector", "info,projector", "verbose=", "info,projector="] {
            assert!(refuse_misspelt_level(filter).is_err(), "{filter}");
        }
    }
}
