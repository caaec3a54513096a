//! Why a request is refused, and how that is answered: RFC 6750, section 3.

use events::Scope;
use read_model::access::AccessError;
use service::codes::{DRAINING, INTERNAL_ERROR, OVERLOADED};
use service::problem::Problem;
use service::request_id;
use thiserror_ext::AsReport;

use crate::codes::writes::{NO_TOKEN_SECRETS, OTHER_AUTHOR};
use crate::codes::{
    ACCESS_BEHIND, CREDENTIAL_MISSING, INSUFFICIENT_SCOPE, INVALID_TOKEN, PROXIED_WHILE_OPEN, TOKEN_EXPIRED,
    VIEWS_UNAVAILABLE,
};
use crate::user_tokens::SignError;

/// Why a request is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("send a credential in the header Authorization: Bearer, a key of the application or the token of a user")]
    CredentialMissing,
    /// The same, where no other credential than the root key is of use.
    #[error(
        "send the root key in the header Authorization: Bearer; it is in the file root.key in the data directory of tally, or where \
         TALLY_ROOT_KEY_FILE says"
    )]
    RootKeyMissing,
    /// Malformed, unknown, revoked or voided: the client is not told which.
    #[error("the credential is not valid")]
    CredentialInvalid,
    #[error("the credential has expired")]
    CredentialExpired,
    #[error("this needs a key with the scope {}", .0.name())]
    ScopeMissing(Scope),
    /// A user's token writes messages and nothing else.
    #[error("the token of a user reads and posts messages; this needs a key with the scope {}", .0.name())]
    KeyNeeded(Scope),
    #[error("this needs the root key")]
    RootNeeded,
    #[error(
        "a token of a user is minted with a key that has the scope admin, so that it ends when that key is revoked"
    )]
    MintingKeyNeeded { is_credential_missing: bool },
    #[error("a message that is posted with the token of a user is from that user; leave the author out")]
    OtherAuthor,
    #[error("there is no such application")]
    UnknownApplication,
    #[error("there is no such chat")]
    UnknownChat,
    #[error("nothing has such a path")]
    UnknownPath,
    #[error(
        "this server is open to everybody who reaches it, because it listens on this machine alone and TALLY_AUTH is not set; but \
         this request came through a proxy; set TALLY_AUTH=required, or TALLY_AUTH=open to let everybody in"
    )]
    Proxied,
    /// Too much of the log may be unknown: the latest revocations, or the key itself.
    #[error(
        "this server is too far behind the log to check the credential; most likely the projection views is paused, replays the log or \
         stands still, and tally status views (projector status views on servers) says how far it is; try again"
    )]
    Behind,
    #[error("keys cannot be read now; try again")]
    Unavailable(#[source] AccessError),
    #[error("keys could not be read in time; try again")]
    TooSlow,
    #[error(
        "too many requests wait until their credentials are checked, and this one has waited the longest; try again"
    )]
    TooManyWaits,
    #[error("this process is stopping; try again")]
    Draining,
    #[error("the token could not be made")]
    Unsigned(#[source] SignError),
    #[error("this server mints no tokens of users: it has no TALLY_TOKEN_SECRETS")]
    NoTokenSecrets,
}

impl Refusal {
    /// The answer. Logs what an operator must see.
    pub fn into_problem(self) -> Problem {
        if matches!(self, Self::Unavailable(_) | Self::Unsigned(_)) {
            tracing::warn!(request_id = request_id::current(), error = %self.as_report(), "a credential could not be checked, or not be made");
        }
        let detail = self.to_string();
        match self {
            Self::CredentialMissing | Self::RootKeyMissing | Self::MintingKeyNeeded { is_credential_missing: true } => {
                Problem::new(CREDENTIAL_MISSING, detail).with_challenge(BARE)
            }
            Self::CredentialInvalid => Problem::new(INVALID_TOKEN, detail).with_challenge(INVALID),
            Self::CredentialExpired => Problem::new(TOKEN_EXPIRED, detail).with_challenge(EXPIRED),
            Self::ScopeMissing(scope) => Problem::new(INSUFFICIENT_SCOPE, detail).with_challenge(insufficient(scope)),
            Self::KeyNeeded(scope) => Problem::new(INSUFFICIENT_SCOPE, detail).with_challenge(key_needed(scope)),
            Self::MintingKeyNeeded { is_credential_missing: false } => {
                Problem::new(INSUFFICIENT_SCOPE, detail).with_challenge(MINTING_KEY_NEEDED)
            }
            Self::RootNeeded => Problem::new(INSUFFICIENT_SCOPE, detail).with_challenge(ROOT_NEEDED),
            Self::OtherAuthor => Problem::new(OTHER_AUTHOR, detail),
            Self::Proxied => Problem::new(PROXIED_WHILE_OPEN, detail),
            Self::UnknownApplication | Self::UnknownChat | Self::UnknownPath => Problem::not_found(detail),
            Self::Behind => Problem::unavailable(ACCESS_BEHIND, detail),
            Self::Unavailable(_) | Self::TooSlow => Problem::unavailable(VIEWS_UNAVAILABLE, detail),
            Self::Unsigned(_) => Problem::new(INTERNAL_ERROR, detail),
            Self::TooManyWaits => Problem::unavailable(OVERLOADED, detail),
            Self::Draining => Problem::unavailable(DRAINING, detail),
            Self::NoTokenSecrets => Problem::new(NO_TOKEN_SECRETS, detail),
        }
    }
}

const BARE: &str = r#"Bearer realm="tally""#;
const INVALID: &str = r#"Bearer realm="tally", error="invalid_token", error_description="the credential is not valid""#;
const EXPIRED: &str = r#"Bearer realm="tally", error="invalid_token", error_description="the credential has expired""#;
/// Told to whoever has the root key, which has no scope that is too low.
const MINTING_KEY_NEEDED: &str = r#"Bearer realm="tally", error="insufficient_scope", scope="admin", error_description="send a key of the application, not the root key""#;
const ROOT_NEEDED: &str = r#"Bearer realm="tally", error="insufficient_scope", scope="root""#;

const fn insufficient(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => r#"Bearer realm="tally", error="insufficient_scope", scope="read""#,
        Scope::Write => r#"Bearer realm="tally", error="insufficient_scope", scope="write""#,
        Scope::Admin => r#"Bearer realm="tally", error="insufficient_scope", scope="admin""#,
    }
}

/// The scope is that of a key. A token of a user may have it already, and it is not enough.
const fn key_needed(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => {
            r#"Bearer realm="tally", error="insufficient_scope", scope="read", error_description="no token of a user permits this""#
        }
        Scope::Write => {
            r#"Bearer realm="tally", error="insufficient_scope", scope="write", error_description="no token of a user permits this""#
        }
        Scope::Admin => {
            r#"Bearer realm="tally", error="insufficient_scope", scope="admin", error_description="no token of a user permits this""#
        }
    }
}
