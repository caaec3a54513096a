//! Begins an epoch.
//!
//! Once Redis may have lost something, it may give a number a second time. A *fence* first makes sure that no number of
//! the former epoch is acknowledged any more. It then writes the new epoch into the log, and only then lets Redis give
//! numbers again, from counters that are filled from the log alone. docs/adr/0006-epochs-in-the-log.md gives the reason
//! for each step.

use std::sync::Arc;
use std::time::Duration;

use event_log::{AppendError, ReadError};
use events::{Epoch, Marker, Offset, PartitionId};
use futures_util::future::try_join_all;
use redis::{Value, cmd};

use super::clock::FENCE_WAIT;
use super::epoch_script::{EpochScript, LOCK_LIFE, hold_script};
use super::redis_client::{RedisClient, RedisFailure};
use super::redis_keys::RedisKeys;
use crate::ports::MarkerLog;

/// Pause between two renewals of the lock.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(800);
/// The partition in which epochs are claimed: a claim's offset there is its epoch.
const CLAIM_PARTITION: PartitionId = PartitionId(0);

/// Why no epoch has begun. The next attempt starts at the first step, with a new owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum FenceError {
    #[error("another process is beginning an epoch")]
    Busy,
    #[error("the lock was lost while the epoch was being begun")]
    LockLost,
    #[error("Redis failed while an epoch was being begun")]
    Redis(#[source] RedisFailure),
    #[error("the event log did not acknowledge the marker of an epoch")]
    Append(#[source] AppendError),
    #[error("the end of the event log, below which the claim of an epoch must lie, could not be read")]
    ReadEnd(#[source] ReadError),
    /// Such an offset is no epoch: if it is too high, every later epoch would be void.
    #[error("an epoch is said to be claimed at offset {claimed}, but the log ends at {end}")]
    ClaimNotInLog { claimed: Offset, end: Offset },
}

/// One attempt to begin an epoch.
pub(super) struct Fence<'a> {
    pub(super) redis: &'a RedisClient,
    pub(super) log: &'a Arc<dyn MarkerLog>,
    pub(super) keys: &'a RedisKeys,
}

/// The lock of one attempt. The attempt's hold script refuses once the lock is lost.
struct FenceLock<'a> {
    redis: &'a RedisClient,
    keys: &'a RedisKeys,
    hold_sha1: String,
}

impl Fence<'_> {
    /// Finds the epoch in force: the one that the epoch's key names, if Redis has its script.
    pub(super) async fn find_epoch(&self) -> Result<Option<EpochScript>, RedisFailure> {
        let key_value = self.redis.get(&self.keys.epoch()).await?;
        match key_value.as_deref().and_then(EpochScript::parse) {
            Some(script) if self.redis.has_script(&script.sha1).await? => Ok(Some(script)),
            _ => Ok(None),
        }
    }

    /// Begins an epoch, or adopts one that another process has begun meanwhile.
    pub(super) async fn begin_epoch(&self) -> Result<EpochScript, FenceError> {
        let lock = self.take_lock().await?;
        if let Some(script) = self.find_epoch().await.map_err(FenceError::Redis)? {
            lock.run_step(&["release"]).await?;
            return Ok(script);
        }
        tracing::warn!("Redis is new, was restarted or has lost keys: a new epoch of numbers is being begun");
        lock.run_step(&["delete"]).await?;
        // From here on Redis gives no numbers. Those that it has given are acknowledged within T, or never.
        let wait = async {
            tokio::time::sleep(FENCE_WAIT).await;
            Ok(())
        };
        lock.renew_during(wait).await?;
        let claimed = lock.renew_during(self.claim()).await?;
        // The lock is still held after the claim was acknowledged: so whoever takes it later claims a higher epoch.
        lock.run_step(&["renew"]).await?;
        let epoch = Epoch(claimed.0);
        let partitions = self.log.partitions().partitions();
        let starts = partitions.map(|partition| self.append(partition, Marker::EpochStarted(epoch)));
        lock.renew_during(try_join_all(starts)).await?;
        let began_at_secs = self.redis.unix_time_secs().await.map_err(FenceError::Redis)?;
        let script = EpochScript::new(epoch, began_at_secs);
        self.redis.load_script(&script.text()).await.map_err(FenceError::Redis)?;
        // This also gives the lock back.
        lock.run_step(&["set", &script.key_value()]).await?;
        metrics::counter!("tally_numbers_fences_total").increment(1);
        Ok(script)
    }

    /// Claims an epoch, and returns the claim's offset.
    async fn claim(&self) -> Result<Offset, FenceError> {
        let claimed = self.append(CLAIM_PARTITION, Marker::EpochClaimed).await?;
        let end = self.log.end().await.map_err(FenceError::ReadEnd)?.bound(CLAIM_PARTITION);
        if claimed < end { Ok(claimed) } else { Err(FenceError::ClaimNotInLog { claimed, end }) }
    }

    async fn append(&self, partition: PartitionId, marker: Marker) -> Result<Offset, FenceError> {
        self.log.append_marker(partition, marker).await.map_err(FenceError::Append)
    }

    async fn take_lock(&self) -> Result<FenceLock<'_>, FenceError> {
        let owner = format!("{:032x}", rand::random::<u128>());
        let hold_sha1 = self.redis.load_script(&hold_script(&owner)).await.map_err(FenceError::Redis)?;
        let mut set = cmd("SET");
        set.arg(self.keys.lock()).arg(&owner).arg("NX").arg("PX").arg(LOCK_LIFE.as_millis());
        match self.redis.send(&set).await.map_err(FenceError::Redis)? {
            Some::<String>(_) => Ok(FenceLock { redis: self.redis, keys: self.keys, hold_sha1 }),
            None => Err(FenceError::Busy),
        }
    }
}

impl FenceLock<'_> {
    /// Runs one operation of the hold script.
    async fn run_step(&self, arguments: &[&str]) -> Result<(), FenceError> {
        let lock_key = self.keys.lock();
        let epoch_key = self.keys.epoch();
        match self.redis.call_script(&self.hold_sha1, &[&lock_key, &epoch_key], arguments).await {
            Ok(Value::Int(1)) => Ok(()),
            Ok(_) => Err(FenceError::LockLost),
            Err(error) => Err(FenceError::Redis(error)),
        }
    }

    /// Renews the lock while `work` runs. A renewal that fails cancels `work`.
    async fn renew_during<T>(&self, work: impl Future<Output = Result<T, FenceError>>) -> Result<T, FenceError> {
        let renewals = async {
            loop {
                tokio::time::sleep(RENEWAL_INTERVAL).await;
                if let Err(error) = self.run_step(&["renew"]).await {
                    return error;
                }
            }
        };
        tokio::select! {
            result = work => result,
            error = renewals => Err(error),
        }
    }
}
