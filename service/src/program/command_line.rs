//! The command line as people write it.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command, Parser};

use crate::config;

/// Parses the command line. `known_variables` lists every environment variable of the product, one a line. Wrong usage ends
/// the process with 2, a request for help with 0.
///
/// A variable that is set but empty counts as not set. Flags may stand before the subcommand that they belong to.
pub fn parse<C: Parser>(known_variables: &str) -> C {
    let mut command = ignore_empty_variables(C::command());
    let arguments = put_subcommand_first(&command, std::env::args_os().collect());
    let matches = command.clone().get_matches_from(arguments);
    if let Err(unknown) = config::refuse_unknown_variables(known_variables) {
        command.error(ErrorKind::InvalidValue, unknown).exit();
    }
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

fn ignore_empty_variables(command: Command) -> Command {
    let ignore_empty = |argument: Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) { argument.env(Resettable::Reset) } else { argument }
    };
    command.mut_args(ignore_empty).mut_subcommands(ignore_empty_variables)
}

/// Moves the subcommand before the flags that stand in front of it, because a flag belongs to the subcommand.
fn put_subcommand_first(command: &Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut index = 1;
    while let Some(argument) = arguments.get(index).and_then(|argument| argument.to_str()) {
        if !argument.starts_with('-') {
            if command.find_subcommand(argument).is_some() {
                arguments[1..=index].rotate_right(1);
            }
            break;
        }
        let is_last = matches!(argument, "--" | "-V" | "--version");
        if is_last {
            break;
        }
        index += if takes_next(command, argument) { 2 } else { 1 };
    }
    arguments
}

/// Whether the argument after this flag is its value.
fn takes_next(command: &Command, flag: &str) -> bool {
    let takes_value = |argument: &Arg| {
        let is_it = argument.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long));
        is_it && argument.get_action().takes_values()
    };
    let commands = std::iter::once(command).chain(command.get_subcommands());
    commands.flat_map(Command::get_arguments).any(takes_value)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn command() -> Command {
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
        let data = Arg::new("data").long("data");
        Command::new("test").arg(data.clone()).subcommand(Command::new("status").arg(data).arg(json))
    }

    #[test]
    fn a_subcommand_is_found_behind_flags() {
        for (given, expected) in [
            ("test --data x status", "test status --data x"),
            ("test --data=x status --json", "test status --data=x --json"),
            ("test --json status", "test status --json"),
            ("test --data x --json status", "test status --data x --json"),
            ("test -h status", "test status -h"),
            ("test status --data x", "test status --data x"),
            // Here it is the value of a flag.
            ("test --data status", "test --data status"),
            ("test --data status status", "test status --data status"),
            ("test --version status", "test --version status"),
            ("test -- status", "test -- status"),
            ("test x status", "test x status"),
            ("test --data", "test --data"),
            ("test", "test"),
        ] {
            let arguments = given.split(' ').map(OsString::from).collect();
            let moved = put_subcommand_first(&command(), arguments);
            assert_eq!(moved, expected.split(' ').map(OsString::from).collect::<Vec<_>>(), "{given}");
        }
    }
}
