//! Checks the URL of a server on the command line.

use std::ffi::OsStr;

use clap::builder::{StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// Accepts a URL that passes this check, and takes what the check makes of it. The check's error says what to write. Unlike
/// clap's own message, this one does not repeat the value, since it may hold a password.
#[derive(Clone)]
pub(super) struct ServerUrl(pub(super) fn(&str) -> Result<String, String>);

impl TypedValueParser for ServerUrl {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let url = StringValueParser::new().parse_ref(command, arg, value)?;
        (self.0)(&url).map_err(|error| {
            let flag = arg.and_then(Arg::get_long).unwrap_or_default();
            let message = format!("invalid value for --{flag}: {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
