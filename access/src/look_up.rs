//! Looks up whose a credential is, in the projection `views`.
//!
//! Nobody but the holder of a credential knows it, but everybody can invent one. So few look-ups run at once, and those that wait for
//! their turn, or for an event that an invented secret names, wait apart from the others.

use std::sync::Arc;

use events::{Place, Scope, UnixMillis};
use read_model::access::{Access, AccessError, AccessKey};
use tokio::time::{Instant, timeout_at};

use crate::authority::Inner;
use crate::credential::Credential;
use crate::memory::{Remembered, is_past};
use crate::principal::{KeyGrant, Principal};
use crate::refusal::Refusal;
use crate::secret::SentSecret;
use crate::user_tokens::{LEEWAY, TokenContent, TokenError};

/// Most look-ups at once, so that invented credentials leave most connections to the readers of views.
pub(crate) const MAX_LOOK_UPS: usize = 4;

impl Inner {
    /// Looks up whose a credential is. What is found may already have been revoked, as far as `views` can tell.
    pub(crate) async fn look_up(
        &self,
        access: &dyn Access,
        credential: &Credential<'_>,
        deadline: Instant,
    ) -> Result<Remembered, Refusal> {
        match &credential.secret {
            Some(secret) => self.find_key(access, secret, deadline).await,
            None => self.find_user(access, credential.text, deadline).await,
        }
    }

    async fn find_key(&self, access: &dyn Access, sent: &SentSecret, deadline: Instant) -> Result<Remembered, Refusal> {
        let mut key = self.read(access.find_key(&sent.hash), deadline).await?;
        if key.is_none() {
            // Nobody has issued it, and nobody will: a log keeps its number of partitions.
            if !self.partitions.has(sent.place.partition) {
                return Err(Refusal::CredentialInvalid);
            }
            let reached = self.reach(access, sent.place, deadline);
            self.wait_for_unknown(reached).await??;
            key = self.read(access.find_key(&sent.hash), deadline).await?;
        }
        let key = valid(key)?;
        let grant = KeyGrant { token: key.token, number: key.number, scope: key.scopes.highest() };
        Ok(Remembered { principal: Principal::Key(grant), expires_at: key.expires_at, partition: key.place.partition })
    }

    async fn find_user(&self, access: &dyn Access, text: &str, deadline: Instant) -> Result<Remembered, Refusal> {
        let secrets = self.credentials.token_secrets.as_ref().ok_or(Refusal::CredentialInvalid)?;
        let content = secrets.read(text).map_err(|error| match error {
            TokenError::Invalid => Refusal::CredentialInvalid,
            TokenError::Expired => Refusal::CredentialExpired,
        })?;
        let TokenContent { grant, expires_at_seconds, known } = content;
        let mut minter = self.read(access.key(grant.token, grant.minted_by), deadline).await?;
        if minter.is_none() && known.offset.0 > 0 {
            // Whoever minted the token knew the key, so it lies before this bound. Nobody can invent such a token.
            let last = Place { offset: events::Offset(known.offset.0 - 1), ..known };
            let reached = self.reach(access, last, deadline);
            self.wait_for_known(reached).await??;
            minter = self.read(access.key(grant.token, grant.minted_by), deadline).await?;
        }
        // After the restore of a copy of the log, the number may be that of another key, which mints none.
        let mints = |key: &AccessKey| key.place.partition == known.partition && key.scopes.highest() == Scope::Admin;
        let minter = valid(minter.filter(mints))?;
        let voided = self.read(access.voided(grant.token, &grant.user), deadline).await?;
        if voided.is_some_and(|voided| voided.offset >= known.offset) {
            return Err(Refusal::CredentialInvalid);
        }
        let leeway = u64::try_from(LEEWAY.as_millis()).unwrap_or(u64::MAX);
        let end = UnixMillis(expires_at_seconds.saturating_mul(1_000).saturating_add(leeway));
        // The leeway is for clocks that differ, and no reason to outlive the key.
        let expires_at = Some(minter.expires_at.map_or(end, |end_of_key| end_of_key.min(end)));
        Ok(Remembered { principal: Principal::User(Arc::new(grant)), expires_at, partition: minter.place.partition })
    }

    /// Reads something, as one of few.
    async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, AccessError>>,
        deadline: Instant,
    ) -> Result<T, Refusal> {
        let turn = self.wait_for_unknown(timeout_at(deadline, self.look_ups.acquire())).await?;
        let Ok(Ok(_turn)) = turn else {
            return Err(Refusal::TooManyWaits);
        };
        match timeout_at(deadline, read).await {
            Ok(read) => read.map_err(Refusal::Unavailable),
            Err(_elapsed) => Err(Refusal::TooSlow),
        }
    }

    /// Waits until `views` has applied the event at this place.
    async fn reach(&self, access: &dyn Access, place: Place, deadline: Instant) -> Result<(), Refusal> {
        let covered = place.covered();
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout_at(deadline, access.reached(&covered, left)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) | Err(_) => Err(Refusal::Behind),
            Ok(Err(error)) => Err(Refusal::Unavailable(error)),
        }
    }
}

/// A key that may be used now.
fn valid(key: Option<AccessKey>) -> Result<AccessKey, Refusal> {
    let key = key.filter(|key| !key.revoked).ok_or(Refusal::CredentialInvalid)?;
    if is_past(key.expires_at) { Err(Refusal::CredentialExpired) } else { Ok(key) }
}
