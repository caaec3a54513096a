//! Access with one fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, EventId, KeyHash, KeyNumber, Place, Position, UserId};

use crate::access::{Access, AccessChanges, AccessError, AccessKey};
use crate::page::{Page, Slice};
use crate::shown::Shown;

/// A fault of a reader of keys. Each check of [`access_conformance!`](crate::access_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the reader does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFault {
    ShiftsNumbers,
    ForgetsEnds,
    HidesRevokedKeys,
    HidesKeys,
    NeverHasMore,
    ReturnsEmptyForAbsent,
    OmitsPositions,
    ForgetsVoids,
    OmitsChanges,
    SkipsOne,
    DropsTheRest,
    AlwaysAtTheEnd,
    NeverWaitsForKeys,
}

struct BrokenAccess {
    access: Arc<dyn Access>,
    fault: AccessFault,
}

impl AccessFault {
    /// Wraps a correct reader in one with this fault.
    pub fn inject(self, access: Arc<dyn Access>) -> Arc<dyn Access> {
        Arc::new(BrokenAccess { access, fault: self })
    }
}

impl BrokenAccess {
    fn damage(&self, key: Option<AccessKey>) -> Option<AccessKey> {
        let mut key = key?;
        match self.fault {
            AccessFault::ShiftsNumbers => key.number = KeyNumber::new(key.number.get() + 1).unwrap(),
            AccessFault::ForgetsEnds => key.expires_at = None,
            AccessFault::HidesRevokedKeys if key.revoked => return None,
            AccessFault::HidesKeys => return None,
            _ => {}
        }
        Some(key)
    }

    /// Makes a position begin one event later in each partition.
    fn skip_one(position: &Position) -> Position {
        let mut skipped = Position::default();
        position.bounds().for_each(|(partition, bound)| skipped.extend(partition, bound.next()));
        skipped
    }
}

#[async_trait]
impl Access for BrokenAccess {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<AccessKey>, AccessError> {
        Ok(self.damage(self.access.find_key(hash).await?))
    }

    async fn key(&self, token: ApplicationToken, number: KeyNumber) -> Result<Option<AccessKey>, AccessError> {
        Ok(self.damage(self.access.key(token, number).await?))
    }

    async fn issued(&self, token: ApplicationToken, event: EventId) -> Result<Option<AccessKey>, AccessError> {
        Ok(self.damage(self.access.issued(token, event).await?))
    }

    async fn keys(
        &self,
        token: ApplicationToken,
        page: Page<KeyNumber>,
    ) -> Result<Option<Shown<Slice<AccessKey>>>, AccessError> {
        let list = self.access.keys(token, page).await?;
        Ok(match (self.fault, list) {
            (AccessFault::ReturnsEmptyForAbsent, None) => {
                Some(Shown { value: Slice { items: Vec::new(), more: false }, position: Position::default() })
            }
            (AccessFault::NeverHasMore, Some(list)) => Some(list.map(|slice| Slice { more: false, ..slice })),
            (AccessFault::OmitsPositions, Some(list)) => Some(Shown { position: Position::default(), ..list }),
            (_, list) => list,
        })
    }

    async fn voided(&self, token: ApplicationToken, user: &UserId) -> Result<Option<Place>, AccessError> {
        let voided = self.access.voided(token, user).await?;
        Ok(voided.filter(|_| self.fault != AccessFault::ForgetsVoids))
    }

    async fn position(&self) -> Result<Position, AccessError> {
        self.access.position().await
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, AccessError> {
        match self.fault {
            AccessFault::NeverWaitsForKeys => Ok(true),
            _ => self.access.reached(position, within).await,
        }
    }

    async fn changes(&self, since: &Position) -> Result<AccessChanges, AccessError> {
        let mut changes = match self.fault {
            AccessFault::SkipsOne => self.access.changes(&Self::skip_one(since)).await?,
            _ => self.access.changes(since).await?,
        };
        match self.fault {
            AccessFault::OmitsChanges => changes.changes.truncate(1),
            AccessFault::DropsTheRest if changes.more => {
                changes.next = self.access.position().await?;
                changes.more = false;
            }
            AccessFault::AlwaysAtTheEnd => {
                let known = self.access.position().await?;
                changes.reached = known.bounds().map(|(partition, _)| (partition, Duration::ZERO)).collect();
            }
            _ => {}
        }
        Ok(changes)
    }
}
