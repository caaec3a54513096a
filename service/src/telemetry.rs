//! Logs.

use std::error::Error;
use std::ffi::OsStr;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;

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
}

/// Writes logs and panics to standard error. Text is in colour if standard error is a terminal and NO_COLOR is not set.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = parse_filter(filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    // A line that cannot be written is lost. Reporting that on standard error, as is the default, would panic.
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if format == LogFormat::Json || format == LogFormat::Auto && !is_terminal {
        logs.json().flatten_event(true).try_init().map_err(TelemetryError::Twice)?;
    } else {
        logs.with_ansi(is_terminal && !refuses_colour(std::env::var_os("NO_COLOR").as_deref()))
            .try_init()
            .map_err(TelemetryError::Twice)?;
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
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
