//! The address of MySQL.

use std::env;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::server_url::ServerUrl;
use crate::mysql::check_url;

/// The variable of a password that is no part of the URL. It has no flag, because every user of a machine can read the flags of
/// its programs.
const PASSWORD_VARIABLE: &str = "TALLY_MYSQL_PASSWORD";

/// The address of MySQL.
#[derive(Debug, Clone, Args)]
pub struct MysqlArgs {
    /// MySQL that keeps the projections views and counts, version 8.0.19 or later. The password of a URL without one is
    /// that of the variable TALLY_MYSQL_PASSWORD, in which no character need be encoded
    #[arg(
        long,
        env = "TALLY_MYSQL_URL",
        value_name = "URL",
        default_value = "mysql://tally:tally@127.0.0.1:3306/tally",
        hide_env_values = true,
        value_parser = ServerUrl(parse)
    )]
    pub mysql_url: String,
}

fn parse(url: &str) -> Result<String, String> {
    check_url(url).map_err(|error| error.to_string())?;
    match env::var(PASSWORD_VARIABLE) {
        Ok(password) => Ok(with_password(url, &password)),
        Err(env::VarError::NotPresent) => Ok(url.to_owned()),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{PASSWORD_VARIABLE} is not UTF-8")),
    }
}

/// The URL with this password, if it names a user without one.
fn with_password(url: &str, password: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if !user.is_empty() && !user.contains(':') && !password.is_empty() => {
            let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
            format!("{scheme}://{user}:{password}@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_password_gets_that_of_the_variable_with_every_character_encoded() {
        for (url, password, expected) in [
            ("mysql://tally@db:3306/tally", "secret", "mysql://tally:secret@db:3306/tally"),
            (
                "mysql://tally@db/tally?a=b@c",
                "p@ss:w/?#%$ é",
                "mysql://tally:p%40ss%3Aw%2F%3F%23%25%24%20%C3%A9@db/tally?a=b@c",
            ),
            ("mysql://tally:own@db/tally", "secret", "mysql://tally:own@db/tally"),
            ("mysql://db/tally", "secret", "mysql://db/tally"),
            ("mysql://tally@db/tally", "", "mysql://tally@db/tally"),
        ] {
            assert_eq!(with_password(url, password), expected);
            check_url(expected).expect(expected);
        }
    }
}
