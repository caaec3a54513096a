//! Logs.

use std::error::Error;
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

/// Writes logs and panics to standard error. Text is in colour if standard error is a terminal.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    refuse_misspelt_level(filter)?;
    let filter =
        EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let is_terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format == LogFormat::Json || format == LogFormat::Auto && !is_terminal {
        logs.json().flatten_event(true).try_init().map_err(TelemetryError::Twice)?;
    } else {
        logs.with_ansi(is_terminal).try_init().map_err(TelemetryError::Twice)?;
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Refuses a misspelt level. `EnvFilter` would take it for a target, and turn off all logs.
fn refuse_misspelt_level(filter: &str) -> Result<(), TelemetryError> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let misspelt = filter.split(',').find(|directive| !directive.contains('=') && !is_level(directive));
    misspelt.map_or(Ok(()), |directive| Err(TelemetryError::Level { directive: directive.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for filter in ["info", "WARN", "off", "info,projector=debug", "a=trace,b=off"] {
            assert!(refuse_misspelt_level(filter).is_ok(), "{filter}");
        }
        for filter in ["inof", "", "info,", "projector", "info,projector"] {
            assert!(refuse_misspelt_level(filter).is_err(), "{filter}");
        }
    }
}
