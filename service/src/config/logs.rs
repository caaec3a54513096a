//! What is logged, and how.

use clap::{Args, ValueEnum};

use crate::telemetry::{self, TelemetryError};

/// The filter and the format of logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace) or directives such as info,projector=debug
    #[arg(long, env = "TALLY_LOG", value_name = "FILTER", default_value = "info", value_parser = parse_filter)]
    pub log: String,
    /// How logs are written
    #[arg(long, env = "TALLY_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// The format of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON
    #[default]
    Auto,
    /// For people; in colour on a terminal
    Text,
    /// For programs, one object a line
    Json,
}

fn parse_filter(text: &str) -> Result<String, TelemetryError> {
    telemetry::parse_filter(text)?;
    Ok(text.to_owned())
}
