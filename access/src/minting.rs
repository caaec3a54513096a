//! Mints tokens of users.

use std::time::Duration;

use events::{Place, Scope, UnixMillis, UserId};

use crate::authority::Authority;
use crate::memory::is_past;
use crate::principal::{Chats, KeyGrant, UserGrant};
use crate::refusal::Refusal;
use crate::user_tokens::TokenContent;

/// What a token is to permit, and for how long.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub user: UserId,
    pub scope: Scope,
    pub chats: Chats,
    pub life: Duration,
}

/// A new token. It has no `Debug`, which would show it.
pub struct Minted {
    pub token: String,
    /// At most what was asked for: a token does not outlive the key that has minted it.
    pub life: Duration,
}

impl Authority {
    /// Mints a token with a key. Writes nothing.
    ///
    /// # Errors
    /// [`Refusal`], if the key is of no use any more, or cannot be read.
    pub async fn mint(&self, key: KeyGrant, request: TokenRequest) -> Result<Minted, Refusal> {
        let inner = self.inner();
        let secrets = inner.credentials.token_secrets.as_ref().ok_or(Refusal::NoTokenSecrets)?;
        let access = inner.access()?;
        // An event that voids tokens of this user, and that this position does not cover, voids this one.
        let position = access.position().await.map_err(Refusal::Unavailable)?;
        let minter = access.key(key.token, key.number).await.map_err(Refusal::Unavailable)?;
        let minter = minter.filter(|minter| !minter.revoked).ok_or(Refusal::CredentialInvalid)?;
        let now = UnixMillis::now();
        let left = minter.expires_at.map(|expires_at| Duration::from_millis(expires_at.0.saturating_sub(now.0)));
        let life = Duration::from_secs(left.map_or(request.life, |left| left.min(request.life)).as_secs());
        if is_past(minter.expires_at) || life.is_zero() {
            return Err(Refusal::CredentialExpired);
        }
        let partition = minter.place.partition;
        let now_seconds = now.0 / 1_000;
        let content = TokenContent {
            grant: UserGrant {
                token: key.token,
                user: request.user,
                scope: request.scope,
                chats: request.chats,
                minted_by: key.number,
            },
            expires_at_seconds: now_seconds + life.as_secs(),
            known: Place { partition, offset: position.bound(partition) },
        };
        let token = secrets.sign(&content, now_seconds).map_err(Refusal::Unsigned)?;
        Ok(Minted { token, life })
    }
}
