//! One batch from the log to a projection.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, LogBatch, ReadError, ReadLimit};
use events::{Offset, PartitionId};
use read_model::{Applied, Checkpoint, CheckpointMove};

use crate::epochs::without_void;
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
    pub async fn checkpoint(&self) -> Result<Checkpoint, FeedError> {
        self.target.checkpoint(self.partition).await.map_err(FeedError::Apply)
    }

    /// Where the partition ends.
    ///
    /// # Errors
    /// If the log cannot be asked.
    pub async fn end(&self) -> Result<Offset, FeedError> {
        Ok(self.log.end().await.map_err(FeedError::Read)?.bound(self.partition))
    }

    /// What the log has from `next` on; at its end it waits, at most `wait`, and is empty if nothing comes.
    ///
    /// # Errors
    /// If the log cannot be read there.
    pub async fn read(&self, next: Offset, wait: Duration) -> Result<LogBatch, FeedError> {
        let limit = ReadLimit { records: self.target.batch_size(), wait };
        self.log.read(self.partition, next, limit).await.map_err(FeedError::Read)
    }

    /// Whether a batch was cut by the size of a batch, so that more is there already.
    pub(crate) fn is_full(&self, log_batch: &LogBatch) -> bool {
        let records = log_batch.events.len() + log_batch.unreadable.len();
        u32::try_from(records).is_ok_and(|records| records >= self.target.batch_size())
    }

    /// Applies what was read at `from`, the projection's checkpoint; the answer is the new checkpoint.
    ///
    /// Where nothing was read, the projection is asked where it is: one that was lost, and has been made again, begins at
    /// the start also in a partition that nothing comes to.
    ///
    /// # Errors
    /// Ask for the checkpoint before trying again.
    pub async fn apply(&self, from: Checkpoint, mut log_batch: LogBatch) -> Result<Checkpoint, FeedError> {
        if log_batch.next == from.next {
            return self.checkpoint().await;
        }
        let (next, unreadable) = (log_batch.next, std::mem::take(&mut log_batch.unreadable));
        let (batch, epoch) = without_void(log_batch, from.epoch);
        let checkpoint_move =
            CheckpointMove { partition: self.partition, from: from.next, to: Checkpoint { next, epoch } };
        match self.target.apply(checkpoint_move, &batch, &unreadable).await.map_err(FeedError::Apply)? {
            Applied::Done => Ok(checkpoint_move.to),
            Applied::Superseded => self.checkpoint().await,
        }
    }

    /// Applies everything before `goal` that is not applied yet, and tells after each batch how far it has come.
    ///
    /// # Errors
    /// The first failure ends it.
    pub async fn catch_up(&self, goal: Offset, told: impl Fn(Offset)) -> Result<(), FeedError> {
        let mut checkpoint = self.checkpoint().await?;
        while checkpoint.next < goal {
            let log_batch = before(goal, self.read(checkpoint.next, Duration::ZERO).await?);
            if log_batch.next == checkpoint.next {
                // Offsets need not be dense: nothing lies between the checkpoint and the goal.
                break;
            }
            checkpoint = self.apply(checkpoint, log_batch).await?;
            told(checkpoint.next);
        }
        Ok(())
    }
}

/// What of a batch lies before `goal`.
fn before(goal: Offset, mut log_batch: LogBatch) -> LogBatch {
    log_batch.events.retain(|recorded| recorded.offset < goal);
    log_batch.epochs.retain(|start| start.offset < goal);
    log_batch.unreadable.retain(|one| one.offset < goal);
    log_batch.next = log_batch.next.min(goal);
    log_batch
}
