//! The secrets of a `tally`: it makes those that nobody has set, and keeps them in its data directory.

use std::path::Path;

use access::config::{CredentialsError, Source};
use access::root_key::RootKey;
use access::secret_files::{SecretFileError, read_or_make};
use access::user_tokens::TokenSecrets;
use access::{AuthArgs, Credentials};

/// The file of the root key.
pub const ROOT_KEY_FILE: &str = "root.key";
/// The file of the secrets that tokens of users are signed with.
pub const TOKEN_SECRETS_FILE: &str = "token.secrets";

/// Why secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// One that somebody has set, or that is in a file.
    #[error(transparent)]
    Credentials(CredentialsError),
    /// A file in the data directory.
    #[error(transparent)]
    File(SecretFileError),
}

/// Reads the secrets that somebody has set. Reads or makes the others, in files of the data directory, which this process owns.
///
/// # Errors
/// [`SecretsError`].
pub fn load(auth: &AuthArgs, directory: &Path) -> Result<Credentials, SecretsError> {
    let Credentials { root_key, token_secrets } = auth.credentials().map_err(SecretsError::Credentials)?;
    let root_key = match root_key {
        Some(root_key) => root_key,
        None => {
            let path = directory.join(ROOT_KEY_FILE);
            let text = read_or_make(&path, RootKey::generate_text).map_err(SecretsError::File)?;
            RootKey::parse(&text).map_err(|malformed| {
                SecretsError::Credentials(CredentialsError::RootKey(Source::File(path), malformed))
            })?
        }
    };
    let token_secrets = match token_secrets {
        Some(token_secrets) => token_secrets,
        None => {
            let path = directory.join(TOKEN_SECRETS_FILE);
            let text = read_or_make(&path, TokenSecrets::generate_text).map_err(SecretsError::File)?;
            TokenSecrets::parse(&text).map_err(|malformed| {
                SecretsError::Credentials(CredentialsError::TokenSecrets(Source::File(path), malformed))
            })?
        }
    };
    Ok(Credentials { root_key: Some(root_key), token_secrets: Some(token_secrets) })
}
