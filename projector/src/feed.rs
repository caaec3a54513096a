//! One batch from the log to a projection.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, ReadError, ReadLimit};
use events::{Offset, PartitionId, Recorded};
use read_model::{Applied, Step};

use crate::target::{ApplyError, Target};

/// A projection and the partition that it is fed from.
#[derive(Clone)]
pub struct Feed {
    /// Where the events come from.
    pub log: Arc<dyn EventLog>,
    /// What they are applied to.
    pub target: Target,
    /// The partition.
    pub partition: PartitionId,
}

/// Why a batch did not get from the log to the projection.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log could not be read.
    #[error("the next events cannot be read")]
    Read(#[source] ReadError),
    /// The projection could not be written.
    #[error("the events cannot be applied")]
    Apply(#[source] ApplyError),
}

impl Feed {
    /// Where the projection's next batch begins.
    ///
    /// # Errors
    /// If the projection cannot be asked.
    pub async fn checkpoint(&self) -> Result<Offset, FeedError> {
        self.target.checkpoint(self.partition).await.map_err(FeedError::Apply)
    }

    /// Where the partition ends.
    ///
    /// # Errors
    /// If the log cannot be asked.
    pub async fn end(&self) -> Result<Offset, FeedError> {
        Ok(self.log.end().await.map_err(FeedError::Read)?.bound(self.partition))
    }

    /// The batch that begins at `next`; it waits for a first event, at most `wait`, and is empty if none comes.
    ///
    /// # Errors
    /// If the log cannot be read there.
    pub async fn read(&self, next: Offset, wait: Duration) -> Result<Vec<Recorded>, FeedError> {
        let limit = ReadLimit { records: self.target.batch_size(), wait };
        self.log.read(self.partition, next, limit).await.map_err(FeedError::Read)
    }

    /// Applies a batch that was read at `next`, the projection's checkpoint; the answer is where the next one begins.
    ///
    /// # Errors
    /// Ask for the checkpoint before trying again.
    pub async fn apply(&self, next: Offset, batch: &[Recorded]) -> Result<Offset, FeedError> {
        let Some(last) = batch.last() else {
            return Ok(next);
        };
        let step = Step { partition: self.partition, from: next, to: last.offset.next() };
        match self.target.apply(step, batch).await.map_err(FeedError::Apply)? {
            Applied::Done => Ok(step.to),
            Applied::Superseded => self.checkpoint().await,
        }
    }

    /// Applies everything before `goal` that is not applied yet, and tells after each batch how far it has come.
    ///
    /// # Errors
    /// The first failure ends it.
    pub async fn catch_up(&self, goal: Offset, told: impl Fn(Offset)) -> Result<(), FeedError> {
        let mut next = self.checkpoint().await?;
        while next < goal {
            let mut batch = self.read(next, Duration::ZERO).await?;
            batch.retain(|recorded| recorded.offset < goal);
            if batch.is_empty() {
                // Offsets need not be dense: nothing lies between the last event and the goal.
                break;
            }
            next = self.apply(next, &batch).await?;
            told(next);
        }
        Ok(())
    }
}
