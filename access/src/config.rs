//! Who may use the APIs: the mode, the root key and the secrets of users' tokens.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::freshness::MAX_AGE_WHILE_AWAY;
use crate::root_key::{MalformedRootKey, RootKey};
use crate::user_tokens::{MalformedSecrets, TokenSecrets};

/// The variable that has the root key. No flag has it: everybody on a machine can read the command lines of its processes.
const ROOT_KEY: &str = "TALLY_ROOT_KEY";
/// The variable that has the secrets of tokens.
const TOKEN_SECRETS: &str = "TALLY_TOKEN_SECRETS";

/// Who may use the APIs.
#[derive(Debug, Clone, Args)]
pub struct AuthArgs {
    /// Who may use the APIs. By default everybody where all addresses are loopback ones, and otherwise only who sends a key
    #[arg(long, env = "TALLY_AUTH", value_name = "MODE")]
    pub auth: Option<AuthSetting>,
    /// File with the root key, which creates applications; or set the variable TALLY_ROOT_KEY to the key itself
    #[arg(long, env = "TALLY_ROOT_KEY_FILE", value_name = "FILE", value_parser = parse_file)]
    pub root_key_file: Option<PathBuf>,
    /// File with the secrets that tokens of users are signed with, one a line, the first signs; or set the variable
    /// TALLY_TOKEN_SECRETS to the secrets themselves
    #[arg(long, env = "TALLY_TOKEN_SECRETS_FILE", value_name = "FILE", value_parser = parse_file)]
    pub token_secrets_file: Option<PathBuf>,
    /// For how long credentials that a process has admitted before go on while nobody can connect to the database of keys. No flag has it:
    /// it is shorter in tests alone.
    #[arg(skip = MAX_AGE_WHILE_AWAY)]
    pub max_age_while_away: Duration,
}

/// What an operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthSetting {
    /// Everybody who reaches the ports may do everything
    Open,
    /// Who sends a key may do what the key permits
    Required,
}

/// Who may use the APIs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody, because an operator says so.
    Open,
    /// Everybody on this machine: nobody has said anything, and the process listens on loopback addresses alone.
    OpenOnLoopback,
    /// Who sends a credential.
    Required,
}

/// The secrets of a process.
#[derive(Debug, Default)]
pub struct Credentials {
    pub root_key: Option<RootKey>,
    pub token_secrets: Option<TokenSecrets>,
}

/// Why secrets cannot be used. No message repeats one.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("{variable} and {variable}_FILE are both set; unset one of them")]
    Twice { variable: &'static str },
    #[error("{variable} is not UTF-8")]
    NotText { variable: &'static str },
    #[error("{} cannot be read", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} has no root key")]
    RootKey(Source, #[source] MalformedRootKey),
    #[error("{0} has no secrets of tokens")]
    TokenSecrets(Source, #[source] MalformedSecrets),
    #[error(
        "{missing} is not set. This server cannot do without it, because it requires credentials: TALLY_AUTH is required, or the server \
         listens on an address that is not a loopback one. Make the secrets once for all programs of the system, and keep them:\n\
         \x20 (umask 077; openssl rand -hex 32 > root.key; openssl rand -hex 32 > token.secrets)\n\
         \x20 export TALLY_ROOT_KEY_FILE=root.key TALLY_TOKEN_SECRETS_FILE=token.secrets\n\
         If everybody who reaches the server may do everything, set TALLY_AUTH=open instead"
    )]
    Missing { missing: &'static str },
}

/// Where a secret was read.
#[derive(Debug)]
pub enum Source {
    Variable(&'static str),
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl AuthMode {
    /// Whether a request without a credential is admitted.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::OpenOnLoopback)
    }
}

impl AuthArgs {
    /// The mode of a process that answers the API on these addresses. The operator's address is none of them. Warns where it lets everybody
    /// in who is on another machine.
    pub fn mode(&self, addresses: &[SocketAddr]) -> AuthMode {
        let is_loopback = addresses.iter().all(|address| address.ip().is_loopback());
        match self.auth {
            Some(AuthSetting::Required) => AuthMode::Required,
            Some(AuthSetting::Open) => {
                if !is_loopback {
                    tracing::warn!(
                        "TALLY_AUTH is open: everybody who reaches this server may read and write everything, and create applications"
                    );
                }
                AuthMode::Open
            }
            None if is_loopback => AuthMode::OpenOnLoopback,
            None => AuthMode::Required,
        }
    }

    /// Reads the secrets from the environment and from files.
    ///
    /// # Errors
    /// [`CredentialsError`] says what to do.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.credentials_with(std::env::var_os)
    }

    fn credentials_with(
        &self,
        variable: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Credentials, CredentialsError> {
        let root_key = read(ROOT_KEY, variable(ROOT_KEY), self.root_key_file.clone())?;
        let root_key = root_key.map(|(text, source)| {
            RootKey::parse(&text).map_err(|malformed| CredentialsError::RootKey(source, malformed))
        });
        let secrets = read(TOKEN_SECRETS, variable(TOKEN_SECRETS), self.token_secrets_file.clone())?;
        let token_secrets = secrets.map(|(text, source)| {
            TokenSecrets::parse(&text).map_err(|malformed| CredentialsError::TokenSecrets(source, malformed))
        });
        Ok(Credentials { root_key: root_key.transpose()?, token_secrets: token_secrets.transpose()? })
    }
}

impl Credentials {
    /// Refuses to require keys without the secrets that are needed for that.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] says how to make them.
    pub fn refuse_missing(&self, mode: AuthMode) -> Result<(), CredentialsError> {
        match self {
            Self { root_key: None, .. } if !mode.is_open() => Err(CredentialsError::Missing { missing: ROOT_KEY }),
            Self { token_secrets: None, .. } if !mode.is_open() => {
                Err(CredentialsError::Missing { missing: TOKEN_SECRETS })
            }
            _ => Ok(()),
        }
    }
}

/// Reads a secret. One that is empty counts as none: compose sets variables that nobody has set.
fn read(
    variable: &'static str,
    value: Option<OsString>,
    file: Option<PathBuf>,
) -> Result<Option<(String, Source)>, CredentialsError> {
    let value = value.filter(|value| !value.is_empty());
    let file = file.filter(|file| !file.as_os_str().is_empty());
    match (value, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(CredentialsError::Twice { variable }),
        (Some(value), None) => match value.into_string() {
            Ok(text) => Ok(Some((text, Source::Variable(variable)))),
            Err(_) => Err(CredentialsError::NotText { variable }),
        },
        (None, Some(path)) => match private_files::read_secret(&path) {
            Ok(text) => Ok(Some((text, Source::File(path)))),
            Err(source) => Err(CredentialsError::File { path, source }),
        },
    }
}

/// Accepts an empty path, which counts as none.
fn parse_file(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use thiserror_ext::AsReport;

    use super::*;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    const fn arguments(auth: Option<AuthSetting>) -> AuthArgs {
        AuthArgs { auth, root_key_file: None, token_secrets_file: None, max_age_while_away: MAX_AGE_WHILE_AWAY }
    }

    #[test]
    fn every_variable_of_a_flag_is_known() {
        let known = include_str!("../../variables.txt");
        let command = AuthArgs::augment_args(clap::Command::new("test"));
        let flags = command.get_arguments().map(|flag| flag.get_env().unwrap().to_str().unwrap());
        for variable in flags.chain([ROOT_KEY, TOKEN_SECRETS]) {
            assert!(known.lines().any(|line| line == variable), "{variable}");
        }
        assert!(command.get_arguments().all(|flag| !["root-key", "token-secrets"].contains(&flag.get_long().unwrap())));
    }

    #[test]
    fn a_server_is_open_by_itself_on_loopback_addresses_alone() {
        let (loopback, other) = (([127, 0, 0, 1], 80).into(), ([0, 0, 0, 0], 80).into());
        let mode = |auth, addresses: &[SocketAddr]| arguments(auth).mode(addresses);
        assert_eq!(mode(None, &[loopback, loopback]), AuthMode::OpenOnLoopback);
        assert_eq!(mode(None, &[loopback, other]), AuthMode::Required);
        assert_eq!(mode(Some(AuthSetting::Open), &[other]), AuthMode::Open);
        assert_eq!(mode(Some(AuthSetting::Open), &[loopback]), AuthMode::Open);
        assert_eq!(mode(Some(AuthSetting::Required), &[loopback]), AuthMode::Required);
    }

    #[test]
    fn secrets_are_read_from_variables_or_files() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, format!("{LONG}\n")).unwrap();
        let from_files =
            AuthArgs { root_key_file: Some(file.clone()), token_secrets_file: Some(file.clone()), ..arguments(None) };
        let found = from_files.credentials_with(|_| Some("".into())).unwrap();
        assert!(found.root_key.is_some() && found.token_secrets.is_some());
        let found = arguments(None).credentials_with(|_| Some(LONG.into())).unwrap();
        assert!(found.root_key.is_some() && found.token_secrets.is_some());
        let empty = AuthArgs { root_key_file: Some(PathBuf::new()), ..arguments(None) };
        let none = empty.credentials_with(|_| None).unwrap();
        assert!(none.root_key.is_none() && none.token_secrets.is_none());
        // The name of a directory is as wrong as that of a pipe.
        let directory = AuthArgs { root_key_file: Some(directory.path().to_owned()), ..arguments(None) };
        let refused = directory.credentials_with(|_| None).unwrap_err();
        assert!(refused.as_report().to_string().contains("no regular file"), "{}", refused.as_report());
        let twice = from_files.credentials_with(|_| Some(LONG.into())).unwrap_err().to_string();
        assert!(twice.contains("TALLY_ROOT_KEY_FILE"), "{twice}");
    }

    #[test]
    fn no_error_repeats_a_secret() {
        const SHORT: &str = "a-short-secret";
        for variable in [ROOT_KEY, TOKEN_SECRETS] {
            let error = arguments(None).credentials_with(|name| (name == variable).then(|| SHORT.into())).unwrap_err();
            let text = format!("{} {error:?}", error.as_report());
            assert!(text.contains(variable) && text.contains("openssl") && !text.contains(SHORT), "{text}");
        }
    }

    #[test]
    fn a_server_that_requires_keys_does_not_start_without_secrets() {
        let missing = |credentials: Credentials, mode| credentials.refuse_missing(mode).err().map(|e| e.to_string());
        let root_key = RootKey::parse(LONG).ok();
        let told = missing(Credentials::default(), AuthMode::Required).unwrap();
        assert!(told.contains("TALLY_ROOT_KEY is not set") && told.contains("openssl rand -hex 32"), "{told}");
        let told = missing(Credentials { root_key, token_secrets: None }, AuthMode::Required).unwrap();
        assert!(told.contains("TALLY_TOKEN_SECRETS is not set"), "{told}");
        let all = Credentials { root_key, token_secrets: TokenSecrets::parse(LONG).ok() };
        assert_eq!(missing(all, AuthMode::Required), None);
        for mode in [AuthMode::Open, AuthMode::OpenOnLoopback] {
            assert_eq!(missing(Credentials::default(), mode), None);
        }
    }
}
