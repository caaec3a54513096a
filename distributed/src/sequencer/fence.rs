//! Begins an epoch.
//!
//! Once Redis may have lost something, it may give a number a second time. A *fence* first makes sure that no number of
//! the former epoch is acknowledged any more. It then writes the new epoch into the log, and only then lets Redis give
//! numbers again, from counters that are filled from the log alone. docs/adr/0006-epochs-in-the-log.md and
//! docs/adr/0009-epochs-above-their-claim.md give the reason for each step.

use std::sync::Arc;
use std::time::Duration;

use event_log::{AppendError, MarkerLog, ReadError};
use events::{Epoch, Marker, Offset, PartitionId, Position};
use futures_util::future::try_join_all;
use redis::{Value, cmd};

use super::clock::FENCE_WAIT;
use super::counts_gate::{CountsError, CountsGate, Goal};
use super::epoch_choice::{Contradiction, choose, find_beyond_end, find_contradiction, highest_started};
use super::epoch_script::{EpochScript, LOCK_LIFE, hold_script};
use super::metric_definitions;
use super::redis_client::{RedisClient, RedisFailure};
use super::redis_keys::RedisKeys;
use crate::ports::Checkpoints;

/// Pause between two renewals of the lock.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(800);
/// The partition in which epochs are claimed: a claim's offset there is its epoch, unless the log was damaged.
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
    #[error("the end of the event log could not be read")]
    ReadEnd(#[source] ReadError),
    /// Such an offset is no epoch: if it is too high, every later epoch would be void.
    #[error("an epoch is said to be claimed at offset {claimed}, but the log ends at {end}")]
    ClaimNotInLog { claimed: Offset, end: Offset },
    /// All counters of the new epoch would be cold, so without `counts` nobody would get a number anyway.
    #[error("no epoch of numbers begins before counts has read the whole log")]
    Counts(#[source] CountsError),
    #[error(
        "counts has read partition {partition} up to offset {next}, and the log ends at {end}: the log has lost its end; \
         make the projections again"
    )]
    CountsBeyondEnd { partition: PartitionId, next: Offset, end: Offset },
    #[error("an epoch of {0} has started in the log, and none can be above it: no command-api has written that record")]
    NoHigherEpoch(Epoch),
    /// If the log has a higher epoch, the next attempt begins above it.
    #[error("the new epoch is not confirmed")]
    Contradicted(#[source] Contradiction),
}

/// One attempt to begin an epoch.
pub(super) struct Fence<'a> {
    pub(super) redis: &'a RedisClient,
    pub(super) log: &'a Arc<dyn MarkerLog>,
    pub(super) keys: &'a RedisKeys,
    pub(super) counts_gate: &'a CountsGate,
    /// The epoch that this process has ended although Redis may still name it: the log contradicts it, Redis may have deleted
    /// keys of it, or the clock of Redis was set.
    pub(super) distrusted: Option<Epoch>,
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
        let named = key_value.as_deref().and_then(EpochScript::parse);
        let Some(script) = named.filter(|script| self.distrusted != Some(script.epoch)) else {
            return Ok(None);
        };
        let is_in_force = self.redis.has_script(&script.sha1).await? || self.load_beside_last_release(&script).await?;
        Ok(is_in_force.then_some(script))
    }

    /// Loads the epoch's script of this release if Redis has that of the last one, which is then in force.
    async fn load_beside_last_release(&self, script: &EpochScript) -> Result<bool, RedisFailure> {
        if !self.redis.has_script(&script.last_sha1).await? {
            return Ok(false);
        }
        self.redis.load_script_beside(&script.text(), &script.last_sha1, &[&self.keys.epoch()], &["check"]).await
    }

    /// Begins an epoch, or adopts one that another process has begun meanwhile.
    pub(super) async fn begin_epoch(&self) -> Result<EpochScript, FenceError> {
        // Without `counts` the attempt would fail later. Until then it would keep the lock, and leave a claim in the log.
        self.check_counts().await?;
        let lock = self.take_lock().await?;
        if let Some(script) = self.find_epoch().await.map_err(FenceError::Redis)? {
            lock.run_step(&["release"]).await?;
            return Ok(script);
        }
        let reason = match self.distrusted {
            Some(_) => "the epoch of numbers cannot be trusted any more",
            None => "Redis is new, was restarted or has lost keys",
        };
        tracing::warn!("{reason}: a new epoch of numbers is being begun");
        lock.run_step(&["delete"]).await?;
        // From here on Redis gives no numbers. Those that it has given are acknowledged within T, or never.
        let wait = async {
            tokio::time::sleep(FENCE_WAIT).await;
            Ok(())
        };
        lock.renew_during(wait).await?;
        let epoch = lock.renew_during(self.claim()).await?;
        // The lock is still held after the claim was acknowledged: so whoever takes it later claims a higher offset. Redis
        // remembers the epoch: so whoever takes the lock later begins a higher one, also in a damaged log.
        lock.run_step(&["announce", &epoch.to_string()]).await?;
        let partitions = self.log.partitions().partitions();
        let starts = partitions.map(|partition| self.append(partition, Marker::EpochStarted(epoch)));
        lock.renew_during(try_join_all(starts)).await?;
        lock.renew_during(self.confirm(epoch)).await?;
        let began_at_secs = self.redis.unix_time_secs().await.map_err(FenceError::Redis)?;
        let script = EpochScript::new(epoch, began_at_secs);
        for text in [script.text(), script.last_text()] {
            self.redis.load_script(&text).await.map_err(FenceError::Redis)?;
        }
        // This also gives the lock back.
        lock.run_step(&["set", &script.key_value()]).await?;
        metrics::counter!(metric_definitions::FENCES).increment(1);
        Ok(script)
    }

    /// Claims an epoch, and chooses it: above every epoch of the log as it is after the claim, and above every epoch that
    /// Redis remembers.
    async fn claim(&self) -> Result<Epoch, FenceError> {
        let claimed = self.append(CLAIM_PARTITION, Marker::EpochClaimed).await?;
        let log_end = self.read_end().await?;
        let end = log_end.bound(CLAIM_PARTITION);
        if claimed >= end {
            return Err(FenceError::ClaimNotInLog { claimed, end });
        }
        let highest_in_log = highest_started(&self.counts_past(&log_end).await?);
        let remembered = self.redis.get(&self.keys.highest()).await.map_err(FenceError::Redis)?;
        let highest_in_redis = remembered.and_then(|epoch| epoch.parse().ok().map(Epoch));
        let highest = highest_in_redis.into_iter().chain(self.distrusted).fold(highest_in_log, Epoch::max);
        let epoch = choose(claimed, highest).ok_or(FenceError::NoHigherEpoch(highest))?;
        if epoch.0 != claimed.0 {
            tracing::warn!(%claimed, %highest, %epoch, "the new epoch is above the offset of its claim");
        }
        Ok(epoch)
    }

    /// Checks that exactly this epoch has started last in every partition.
    async fn confirm(&self, epoch: Epoch) -> Result<(), FenceError> {
        let checkpoints = self.counts_past(&self.read_end().await?).await?;
        let contradiction = find_contradiction(self.log.partitions(), &checkpoints, epoch);
        contradiction.map_or(Ok(()), |contradiction| Err(FenceError::Contradicted(contradiction)))
    }

    /// Checks that `counts` has read this log to its end, and no further.
    async fn check_counts(&self) -> Result<(), FenceError> {
        let checkpoints = self.counts_past(&self.read_end().await?).await?;
        let end = self.read_end().await?;
        if let Some((partition, next, end)) = find_beyond_end(&checkpoints, &end) {
            return Err(FenceError::CountsBeyondEnd { partition, next, end });
        }
        self.counts_gate.check_records(&checkpoints, &end).await.map_err(FenceError::Counts)
    }

    /// The checkpoints of `counts`, once it has passed `end`.
    async fn counts_past(&self, end: &Position) -> Result<Checkpoints, FenceError> {
        self.counts_gate.checkpoints_past(Goal::Position(end)).await.map_err(FenceError::Counts)
    }

    async fn read_end(&self) -> Result<Position, FenceError> {
        self.log.end().await.map_err(FenceError::ReadEnd)
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
        let (epoch_key, highest_key) = (self.keys.epoch(), self.keys.highest());
        match self.redis.call_script(&self.hold_sha1, &[&lock_key, &epoch_key, &highest_key], arguments).await {
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
