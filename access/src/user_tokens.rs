//! Tokens of users: what a browser or a phone sends instead of a key. They are JSON Web Tokens (RFC 7519), signed with HS256.
//!
//! Nothing is stored when one is minted. A token names the key that minted it, and the place in the log up to which keys were
//! known then. It ends when that key is revoked, or when an event at or beyond that place voids the tokens of its user. No clock is
//! compared with another for that.

use std::fmt;
use std::time::Duration;

use events::{ApplicationToken, ChatNumber, KeyNumber, Offset, PartitionId, Place, Position, Scope, UserId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hs256;
use crate::principal::{Chats, UserGrant};

/// A token is valid for this long unless its application says otherwise.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(3_600);
/// Longest life of a token.
pub const MAX_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How far the clocks of two servers may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Most chats that a token may list. A list of chats is then made by so many reads at most, and the token stays short enough for
/// the headers that proxies accept.
pub const MAX_LISTED_CHATS: usize = 100;
/// A shorter secret could be guessed.
pub const MIN_SECRET_BYTES: usize = 32;
/// Most secrets: one that signs, and some that tokens were signed with before.
pub const MAX_SECRETS: usize = 16;

const ISSUER: &str = "tally";

/// The secrets that tokens are signed with.
pub struct TokenSecrets {
    signing: EncodingKey,
    /// All of them, the one that signs first.
    verifying: Vec<DecodingKey>,
    validation: Validation,
}

/// The text has no secrets that tokens can be signed with. The message does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write one to {MAX_SECRETS} secrets of at least {MIN_SECRET_BYTES} bytes each, separated by commas or line breaks; make one by: \
     openssl rand -hex 32"
)]
pub struct MalformedSecrets;

/// A token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// No secret has signed it, or it does not say what a token says.
    Invalid,
    Expired,
}

/// Why a token was not signed.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be signed")]
pub struct SignError(#[source] jsonwebtoken::errors::Error);

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenContent {
    pub(crate) grant: UserGrant,
    /// In seconds since 1970.
    pub(crate) expires_at_seconds: u64,
    /// The partition of the application's own events, and the bound up to which the minting server knew them.
    pub(crate) known: Place,
}

/// The claims as the token has them. The names are those of RFC 7519 where it has one, and `scope` is that of RFC 8693.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The application.
    aud: ApplicationToken,
    /// The user.
    sub: UserId,
    iat: u64,
    exp: u64,
    jti: String,
    /// The number of the key that minted it.
    kid: KeyNumber,
    scope: Scope,
    /// Absent for all chats, as in every token that was minted so far. So a claim that is missing grants most, to whoever has the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chats: Option<Box<[ChatNumber]>>,
    /// What the minting server knew of the log.
    pos: String,
}

impl TokenSecrets {
    /// Takes secrets that are separated by commas or line breaks. The first signs.
    ///
    /// # Errors
    /// [`MalformedSecrets`].
    pub fn parse(text: &str) -> Result<Self, MalformedSecrets> {
        let secrets: Vec<_> = text.split([',', '\n']).map(str::trim).filter(|secret| !secret.is_empty()).collect();
        let is_long = secrets.iter().all(|secret| secret.len() >= MIN_SECRET_BYTES);
        let Some(first) = secrets.first().filter(|_| is_long && secrets.len() <= MAX_SECRETS) else {
            return Err(MalformedSecrets);
        };
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY.as_secs();
        validation.set_issuer(&[ISSUER]);
        // Which application a token is for is compared with the path of the request.
        validation.validate_aud = false;
        Ok(Self {
            signing: EncodingKey::from_secret(first.as_bytes()),
            verifying: secrets.iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect(),
            validation,
        })
    }

    /// Makes the text of a new secret from 256 random bits.
    pub fn generate_text() -> String {
        let random: [u8; 32] = rand::random();
        random.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Signs a token.
    pub(crate) fn sign(&self, content: &TokenContent, now_seconds: u64) -> Result<String, SignError> {
        let TokenContent { grant, expires_at_seconds, known } = content;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: grant.token,
            sub: grant.user.clone(),
            iat: now_seconds,
            exp: *expires_at_seconds,
            jti: Uuid::new_v4().to_string(),
            kid: grant.minted_by,
            scope: grant.scope,
            chats: match &grant.chats {
                Chats::All => None,
                Chats::Listed(chats) => Some(chats.clone()),
            },
            pos: Position::up_to(known.partition, known.offset).to_string(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(SignError)
    }

    /// Reads a token that one of the secrets has signed.
    pub(crate) fn read(&self, text: &str) -> Result<TokenContent, TokenError> {
        for secret in &self.verifying {
            match decode::<Claims>(text, secret, &self.validation) {
                Ok(token) => return content(token.claims).ok_or(TokenError::Invalid),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::ExpiredSignature => return Err(TokenError::Expired),
                    _ => return Err(TokenError::Invalid),
                },
            }
        }
        Err(TokenError::Invalid)
    }
}

fn content(claims: Claims) -> Option<TokenContent> {
    let known: Position = claims.pos.parse().ok()?;
    let (partition, offset): (PartitionId, Offset) = known.bounds().next()?;
    let chats = match claims.chats {
        None => Chats::All,
        Some(chats) => Chats::Listed(chats),
    };
    let grant = UserGrant {
        token: claims.aud,
        user: claims.sub,
        // No token administers, whoever has signed it.
        scope: claims.scope.min(Scope::Write),
        chats,
        minted_by: claims.kid,
    };
    Some(TokenContent { grant, expires_at_seconds: claims.exp, known: Place { partition, offset } })
}

/// Shows nothing of the secrets.
impl fmt::Debug for TokenSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use events::UnixMillis;

    use super::*;

    const FIRST: &str = "first-secret-of-thirty-two-bytes";
    const SECOND: &str = "other-secret-of-thirty-two-bytes";

    fn now_seconds() -> u64 {
        UnixMillis::now().0 / 1_000
    }

    fn content(expires_at_seconds: u64) -> TokenContent {
        let grant = UserGrant {
            token: ApplicationToken::from_bytes([7; ApplicationToken::BYTES]),
            user: UserId::new("zoë".to_owned()).unwrap(),
            scope: Scope::Write,
            chats: Chats::Listed([1, 4_294_967_295].map(|number| ChatNumber::new(number).unwrap()).into()),
            minted_by: KeyNumber::new(3).unwrap(),
        };
        TokenContent { grant, expires_at_seconds, known: Place { partition: PartitionId(11), offset: Offset(5) } }
    }

    #[test]
    fn every_secret_reads_what_the_first_one_signs() {
        let content = content(now_seconds() + 60);
        let (old, new) =
            (TokenSecrets::parse(FIRST).unwrap(), TokenSecrets::parse(&format!("{SECOND}\n{FIRST},\n")).unwrap());
        let token = old.sign(&content, now_seconds()).unwrap();
        assert_eq!(old.read(&token), Ok(content.clone()));
        assert_eq!(new.read(&token), Ok(content.clone()));
        assert_eq!(old.read(&new.sign(&content, now_seconds()).unwrap()), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_expires_with_some_leeway() {
        let secrets = TokenSecrets::parse(FIRST).unwrap();
        let read = |expires_at| secrets.read(&secrets.sign(&content(expires_at), now_seconds()).unwrap()).map(drop);
        assert_eq!(read(now_seconds() - LEEWAY.as_secs() + 10), Ok(()));
        assert_eq!(read(now_seconds() - LEEWAY.as_secs() - 10), Err(TokenError::Expired));
    }

    /// Signs claims as they are, with a header as it is.
    fn forge(header: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
        let secrets = TokenSecrets::parse(FIRST).unwrap();
        let token = secrets.sign(&content(now_seconds() + 60), now_seconds()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let mut claims = serde_json::from_slice(&claims).unwrap();
        change(&mut claims);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(
            signed.as_bytes(),
            &EncodingKey::from_secret(FIRST.as_bytes()),
            Algorithm::HS256,
        );
        format!("{signed}.{}", signature.unwrap())
    }

    #[test]
    fn a_token_of_another_form_is_invalid() {
        let secrets = TokenSecrets::parse(FIRST).unwrap();
        let header = r#"{"typ":"JWT","alg":"HS256"}"#;
        assert!(secrets.read(&forge(header, |_| ())).is_ok());
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512"}"#, r#"{"alg":"RS256"}"#, r#"{"typ":"JWT"}"#, "x"] {
            assert_eq!(secrets.read(&forge(header, |_| ())), Err(TokenError::Invalid), "{header}");
        }
        for (claim, value) in [
            ("iss", "another".into()),
            ("aud", "x".into()),
            ("sub", "".into()),
            ("exp", "soon".into()),
            ("kid", 0.into()),
            ("scope", "root".into()),
            ("chats", "all".into()),
            ("chats", serde_json::json!([0])),
            ("pos", "".into()),
        ] {
            let token = forge(header, |claims| claims[claim] = value);
            assert_eq!(secrets.read(&token), Err(TokenError::Invalid), "{claim}");
        }
        for claim in ["iss", "aud", "sub", "exp", "kid", "scope", "pos"] {
            let token = forge(header, |claims| drop(claims.as_object_mut().unwrap().remove(claim)));
            assert_eq!(secrets.read(&token), Err(TokenError::Invalid), "{claim}");
        }
        for text in ["", ".", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
            assert_eq!(secrets.read(text), Err(TokenError::Invalid), "{text}");
        }
    }

    #[test]
    fn no_token_administers() {
        let token = forge(r#"{"alg":"HS256"}"#, |claims| claims["scope"] = "admin".into());
        let content = TokenSecrets::parse(FIRST).unwrap().read(&token).unwrap();
        assert_eq!(content.grant.scope, Scope::Write);
    }

    #[test]
    fn a_changed_token_is_invalid() {
        let secrets = TokenSecrets::parse(FIRST).unwrap();
        let token = secrets.sign(&content(now_seconds() + 60), now_seconds()).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
            assert_eq!(secrets.read(&String::from_utf8(bytes).unwrap()), Err(TokenError::Invalid), "{at}");
        }
    }

    #[test]
    fn secrets_are_long_and_few() {
        let many = vec![FIRST; MAX_SECRETS + 1].join(",");
        for text in ["", " \n", "short", &FIRST[1..], &format!("{FIRST},short"), &many] {
            assert!(TokenSecrets::parse(text).is_err(), "{text}");
        }
        let secrets = TokenSecrets::parse(&TokenSecrets::generate_text()).unwrap();
        assert_eq!(format!("{secrets:?}"), "TokenSecrets(…)");
    }
}
