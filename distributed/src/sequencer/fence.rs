//! How an epoch begins.
//!
//! Whenever Redis may have lost something, every number that it would give is suspect. A *fence* makes sure that nobody
//! is told of a number of the epoch before any more, writes the new epoch into the log, and only then lets numbers be
//! given again, in a state that is filled from the log alone. Why each step is there is told in
//! docs/adr/0006-epochs-in-the-log.md.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, ReadError};
use events::{Epoch, Marker, Offset, PartitionCount, PartitionId};
use futures_util::future::try_join_all;
use redis::{Value, cmd};

use super::clock::FENCE_WAIT;
use super::epoch_script::{EpochScript, LOCK_LIFE, hold_script};
use super::redis_client::{RedisClient, RedisFailure};
use super::redis_keys::RedisKeys;

/// How often the lock is renewed.
const RENEW: Duration = Duration::from_millis(800);
/// Where epochs are claimed: the offset there is the epoch.
const CLAIMS: PartitionId = PartitionId(0);

/// What a fence needs of the log beside what everybody does.
#[async_trait]
pub trait MarkerLog: EventLog {
    /// How many partitions there are.
    fn partitions(&self) -> PartitionCount;

    /// Appends a marker, once; the answer is its own offset.
    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError>;
}

/// Why no epoch has begun. Whoever tries again begins at the first step, as another owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum FenceError {
    /// Somebody else is at it.
    #[error("another process is beginning an epoch")]
    Busy,
    /// The lock was lost in between.
    #[error("the lock was lost while the epoch was being begun")]
    LockLost,
    /// Redis failed.
    #[error("Redis failed while an epoch was being begun")]
    Redis(#[source] RedisFailure),
    /// The log failed.
    #[error("the event log did not acknowledge the marker of an epoch")]
    Log(#[source] AppendError),
    /// It cannot be known whether the claim lies in the log.
    #[error("the event log cannot be asked for its end, below which the claim of an epoch must lie")]
    End(#[source] ReadError),
    /// What was told of the claim's place is not so. As an epoch it would make void all that come after it, for ever.
    #[error("an epoch is said to be claimed at offset {claimed}, but the log ends at {end}")]
    NotInLog {
        /// Where the claim is said to lie.
        claimed: Offset,
        /// Where its partition ends.
        end: Offset,
    },
}

/// One attempt to begin an epoch.
pub(super) struct Fence<'a> {
    pub(super) server: &'a RedisClient,
    pub(super) log: &'a Arc<dyn MarkerLog>,
    pub(super) names: &'a RedisKeys,
}

/// The lock, as long as its script says so.
struct Lock<'a> {
    server: &'a RedisClient,
    names: &'a RedisKeys,
    script: String,
}

impl Fence<'_> {
    /// The reign in force, if there is one whose script is there.
    pub(super) async fn current(&self) -> Result<Option<EpochScript>, RedisFailure> {
        let value = self.server.get(&self.names.epoch()).await?;
        match value.as_deref().and_then(EpochScript::parse) {
            Some(reign) if self.server.has(&reign.script).await? => Ok(Some(reign)),
            _ => Ok(None),
        }
    }

    /// Begins an epoch, or adopts one that somebody else began meanwhile.
    pub(super) async fn begin(&self) -> Result<EpochScript, FenceError> {
        let lock = self.take_lock().await?;
        if let Some(reign) = self.current().await.map_err(FenceError::Redis)? {
            lock.step(&["release"]).await?;
            return Ok(reign);
        }
        tracing::warn!("Redis is new, was restarted or has lost keys: a new epoch of numbers is being begun");
        lock.step(&["delete"]).await?;
        // From here on no number is given. Those that were can be told of for T at most.
        lock.renewed_during(async {
            tokio::time::sleep(FENCE_WAIT).await;
            Ok(())
        })
        .await?;
        let claimed = lock.renewed_during(self.claim()).await?;
        lock.step(&["renew"]).await?;
        let epoch = Epoch(claimed.0);
        let started = self.log.partitions().partitions();
        let started = started.map(|partition| self.append(partition, Marker::EpochStarted(epoch)));
        lock.renewed_during(try_join_all(started)).await?;
        let began = self.server.time().await.map_err(FenceError::Redis)?;
        let reign = EpochScript::new(epoch, began);
        self.server.load(&reign.text()).await.map_err(FenceError::Redis)?;
        lock.step(&["set", &reign.value()]).await?;
        metrics::counter!("tally_numbers_fences_total").increment(1);
        Ok(reign)
    }

    /// Claims an epoch; the answer is its number.
    async fn claim(&self) -> Result<Offset, FenceError> {
        let claimed = self.append(CLAIMS, Marker::EpochClaimed).await?;
        let end = self.log.end().await.map_err(FenceError::End)?.bound(CLAIMS);
        if claimed < end { Ok(claimed) } else { Err(FenceError::NotInLog { claimed, end }) }
    }

    async fn append(&self, partition: PartitionId, marker: Marker) -> Result<Offset, FenceError> {
        self.log.append_marker(partition, marker).await.map_err(FenceError::Log)
    }

    async fn take_lock(&self) -> Result<Lock<'_>, FenceError> {
        let owner = format!("{:032x}", rand::random::<u128>());
        let script = self.server.load(&hold_script(&owner)).await.map_err(FenceError::Redis)?;
        let mut set = cmd("SET");
        set.arg(self.names.lock()).arg(&owner).arg("NX").arg("PX").arg(LOCK_LIFE.as_millis());
        match self.server.ask(&set).await.map_err(FenceError::Redis)? {
            Some::<String>(_) => Ok(Lock { server: self.server, names: self.names, script }),
            None => Err(FenceError::Busy),
        }
    }
}

impl Lock<'_> {
    /// One step, which works only while the lock is held.
    async fn step(&self, arguments: &[&str]) -> Result<(), FenceError> {
        let (lock, epoch) = (self.names.lock(), self.names.epoch());
        match self.server.call(&self.script, &[&lock, &epoch], arguments).await {
            Ok(Value::Int(1)) => Ok(()),
            Ok(_) => Err(FenceError::LockLost),
            Err(error) => Err(FenceError::Redis(error)),
        }
    }

    /// Does something while the lock is renewed; that failing ends it.
    async fn renewed_during<T>(&self, work: impl Future<Output = Result<T, FenceError>>) -> Result<T, FenceError> {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW).await;
                if let Err(error) = self.step(&["renew"]).await {
                    return error;
                }
            }
        };
        tokio::select! {
            done = work => done,
            failure = renewing => Err(failure),
        }
    }
}
