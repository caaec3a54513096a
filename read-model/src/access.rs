//! The port that reads who may use an application: its keys, and users whose tokens were voided.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use events::{
    ApplicationToken, EventId, KeyHash, KeyNumber, PartitionId, Place, Position, RequestKey, Scopes, UnixMillis, UserId,
};

use crate::BackendError;
use crate::page::{Page, Slice};
use crate::shown::Shown;

/// The most entries of one [`AccessChanges`].
pub const MAX_CHANGES: u32 = 1_000;

/// A key of an application, revoked or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The application.
    pub token: ApplicationToken,
    /// The key's number within the application.
    pub number: KeyNumber,
    /// By which it is recognised.
    pub hash: KeyHash,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was issued.
    pub created_at: UnixMillis,
    /// From when on it is of no use; `None` if it has no end.
    pub expires_at: Option<UnixMillis>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The place of the event that issued it.
    pub place: Place,
    /// A hash of the values of the request that issued it, if the request had an Idempotency-Key.
    pub request_values: Option<[u8; RequestKey::HASH_BYTES]>,
}

/// Something that was permitted before and is no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessChange {
    /// A key was revoked. Later revocations of the same key are no changes.
    KeyRevoked {
        /// The application.
        token: ApplicationToken,
        /// The key.
        number: KeyNumber,
        /// The place of the revocation.
        place: Place,
    },
    /// The tokens of a user were voided. Of several times there is the last alone.
    UserTokensVoided {
        /// The application.
        token: ApplicationToken,
        /// The user.
        user: UserId,
        /// The place of the last event that voids them.
        place: Place,
    },
}

/// What has changed since a position, and how far behind the log that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChanges {
    /// The changes: for each partition in log order, [`MAX_CHANGES`] at most.
    pub changes: Vec<AccessChange>,
    /// The position for the next call.
    pub next: Position,
    /// Whether there are more already. `reached` counts for what was returned only once there are not.
    pub more: bool,
    /// How long ago `views` is known to have had everything that the log had at that time, for each partition: whatever the log had
    /// then is among the changes. A partition is missing for as long as nothing is known of it.
    pub reached: BTreeMap<PartitionId, Duration>,
}

/// Reads the keys of applications and the users whose tokens were voided. They are rows of the projection `views`.
///
/// - **One partition:** all events of this kind of one application are in one partition, that of the application's own stream. It is
///   that of each key's [`place`](AccessKey::place).
/// - **Lasting:** a revoked key stays revoked, and stays found.
#[async_trait]
pub trait Access: Send + Sync {
    /// The key of this hash, revoked or not.
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<AccessKey>, AccessError>;

    /// The key of this number, revoked or not.
    async fn key(&self, token: ApplicationToken, number: KeyNumber) -> Result<Option<AccessKey>, AccessError>;

    /// The key that this event has issued, revoked or not.
    async fn issued(&self, token: ApplicationToken, event: EventId) -> Result<Option<AccessKey>, AccessError>;

    /// Lists the keys that are not revoked, ordered by number; `None` if neither the application nor any chat of it exists.
    async fn keys(
        &self,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, AccessError>;

    /// The place of the last event that voids the tokens of this user; `None` if none ever has.
    async fn voided(&self, token: ApplicationToken, user: &UserId) -> Result<Option<Place>, AccessError>;

    /// How far `views` has come. A reader that remembers keys begins [`Access::changes`] here, and reads this position before the first
    /// key.
    async fn position(&self) -> Result<Position, AccessError>;

    /// Waits until `views` has applied everything that `position` covers. Returns false if it has not after `within`.
    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, AccessError>;

    /// What has changed since `since`, which is the `next` of an earlier call, or [`Access::position`].
    async fn changes(&self, since: &Position) -> Result<AccessChanges, AccessError>;
}

/// Keys or voided users could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read")]
pub struct AccessError {
    /// Names what was read in the message.
    pub what: &'static str,
    /// Whether nobody can reach the server that has the keys: the connection is refused or lost, or cannot be opened. A server that is
    /// slow, or refuses a statement, is reached.
    pub is_unreachable: bool,
    /// The adapter's error.
    #[source]
    pub source: BackendError,
}
