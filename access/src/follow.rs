//! Follows the changes of keys, so that the memory forgets whatever is revoked.

use std::time::Duration;

use events::Position;
use read_model::access::{Access, AccessError};
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, Inner};
use crate::clock::BootInstant;

/// Pause between two looks for changes. It is a part of the time within which a revocation holds.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time for one look. A look that takes longer has found a server that is slow, and not one that is away: an adapter gives up
/// opening a connection in less.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Most pages of one look. Further ones are read by the next look; until then nothing is noted as known.
const MAX_PAGES: usize = 100;

/// Why changes could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("the changes of keys cannot be read")]
    Access(#[source] AccessError),
    #[error("the changes of keys were not read within {} s", .0.as_secs())]
    TooSlow(Duration),
}

impl FollowError {
    const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Access(AccessError { is_unreachable: true, .. }))
    }
}

impl Authority {
    /// Follows the changes until `stop`. Without this an authority admits nobody but who has the root key.
    pub async fn follow(self, stop: CancellationToken) {
        let Some(access) = &self.inner().access else {
            return;
        };
        // An open server begins when somebody first sends a credential: most never get one.
        if self.mode().is_open() && stop.run_until_cancelled(self.inner().wanted.notified()).await.is_none() {
            return;
        }
        let (mut since, mut has_failed) = (None, false);
        loop {
            let Some(looked) = stop.run_until_cancelled(look(self.inner(), &**access, &mut since)).await else {
                return;
            };
            match &looked {
                Err(error) if !has_failed => {
                    tracing::warn!(error = %error.as_report(), "revocations of keys cannot be followed");
                }
                Ok(()) if has_failed => tracing::info!("revocations of keys are followed again"),
                _ => {}
            }
            has_failed = looked.is_err();
            if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }
}

/// Reads all changes since the last look, and notes whether the keys can be reached.
pub(crate) async fn look(inner: &Inner, access: &dyn Access, since: &mut Option<Position>) -> Result<(), FollowError> {
    let looked = tokio::time::timeout(LOOK_TIMEOUT, read_changes(inner, access, since)).await;
    let looked = looked.unwrap_or(Err(FollowError::TooSlow(LOOK_TIMEOUT)));
    inner.memory.note_away(looked.as_ref().is_err_and(FollowError::is_unreachable));
    looked
}

async fn read_changes(inner: &Inner, access: &dyn Access, since: &mut Option<Position>) -> Result<(), FollowError> {
    let mut position = match since.take() {
        Some(position) => position,
        None => {
            let position = access.position().await.map_err(FollowError::Access)?;
            // The first credential is remembered after this.
            inner.memory.begin();
            position
        }
    };
    for _ in 0..MAX_PAGES {
        // Kept before the read: one that is given up is repeated from here.
        *since = Some(position.clone());
        let asked_at = BootInstant::now();
        let found = access.changes(&position).await.map_err(FollowError::Access)?;
        inner.memory.forget(&found.changes);
        position = found.next;
        *since = Some(position.clone());
        if !found.more {
            inner.memory.note_reached(asked_at, &found.reached);
            break;
        }
    }
    Ok(())
}
