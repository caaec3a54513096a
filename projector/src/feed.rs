//! Moves batches from a partition of the log to a projection.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, LogBatch, ReadError, ReadLimit};
use events::{Offset, PartitionId};
use read_model::{Applied, Checkpoint, CheckpointMove, PauseError, Projection};

use crate::epochs::drop_void_events;
use crate::sink::{ProjectionSink, SinkError};

/// A partition of the log and the projection that it feeds.
#[derive(Clone)]
pub struct Feed {
    /// The log with the events.
    pub log: Arc<dyn EventLog>,
    /// The projection.
    pub sink: Arc<dyn ProjectionSink>,
    /// The partition.
    pub partition: PartitionId,
}

/// Why a batch did not get from the log to the projection.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log could not be read.
    #[error("the next events cannot be read")]
    Read(#[source] ReadError),
    /// The projection could not be read or written.
    #[error("the events cannot be applied")]
    Apply(#[source] SinkError),
    /// Whether the projection is paused could not be read.
    #[error(transparent)]
    Pause(PauseError),
}

impl FeedError {
    /// Whether trying again cannot help.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::BeyondEnd { .. } | ReadError::Truncated { .. } | ReadError::Newer { .. })
                | Self::Apply(SinkError::Newer(_))
        )
    }
}

impl Feed {
    /// The projection.
    pub fn projection(&self) -> Projection {
        self.sink.projection()
    }

    /// The checkpoint, at which the projection's next batch begins.
    ///
    /// # Errors
    /// If the projection cannot be read.
    pub async fn checkpoint(&self) -> Result<Checkpoint, FeedError> {
        self.sink.checkpoint(self.partition).await.map_err(FeedError::Apply)
    }

    /// The end of the partition.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn end(&self) -> Result<Offset, FeedError> {
        Ok(self.log.end().await.map_err(FeedError::Read)?.bound(self.partition))
    }

    /// Reads a batch from `next` on. At the log's end it waits for at most `wait`, and returns an empty batch if no
    /// event comes.
    ///
    /// # Errors
    /// If the log cannot be read there.
    pub async fn read(&self, next: Offset, wait: Duration) -> Result<LogBatch, FeedError> {
        let limit = ReadLimit { records: self.sink.batch_size(), wait };
        self.log.read(self.partition, next, limit).await.map_err(FeedError::Read)
    }

    /// Whether the batch has as many records as fit, so that the log may have more already.
    pub(crate) fn is_full(&self, log_batch: &LogBatch) -> bool {
        let records = log_batch.events.len() + log_batch.unreadable.len();
        u32::try_from(records).is_ok_and(|records| records >= self.sink.batch_size())
    }

    /// Applies a batch that was read at `from`, the projection's checkpoint, and returns the new checkpoint.
    ///
    /// If the projection cannot apply an event because a newer version has written it, the batch ends before that event.
    /// Only a batch that begins with such an event is an error.
    ///
    /// For an empty batch it only reads the checkpoint again. So a projection that was lost and made again is filled
    /// from the start even if its partition gets no new events.
    ///
    /// # Errors
    /// After an error, read the checkpoint before trying again.
    pub async fn apply(&self, from: Checkpoint, mut log_batch: LogBatch) -> Result<Checkpoint, FeedError> {
        if log_batch.next == from.next {
            return self.checkpoint().await;
        }
        let stop = self.find_too_new(from, &log_batch).filter(|stop| *stop > from.next);
        if let Some(stop) = stop {
            log_batch = cut_at(stop, log_batch);
        }
        let next = log_batch.next;
        let unreadable = std::mem::take(&mut log_batch.unreadable);
        let (batch, epoch) = drop_void_events(log_batch, from.epoch);
        let checkpoint_move =
            CheckpointMove { partition: self.partition, from: from.next, to: Checkpoint { next, epoch } };
        match self.sink.apply(checkpoint_move, &batch, &unreadable).await.map_err(FeedError::Apply)? {
            Applied::Done => Ok(checkpoint_move.to),
            Applied::Superseded => self.checkpoint().await,
        }
    }

    /// Finds the first event that is too new for the projection. Void ones do not count.
    fn find_too_new(&self, from: Checkpoint, log_batch: &LogBatch) -> Option<Offset> {
        if !log_batch.events.iter().any(|event| self.sink.is_too_new(&event.record)) {
            return None;
        }
        let (valid, _) = drop_void_events(log_batch.clone(), from.epoch);
        valid.iter().find(|event| self.sink.is_too_new(&event.record)).map(|event| event.offset)
    }

    /// Applies every event before `goal`, and calls `on_progress` with the new checkpoint after each batch.
    ///
    /// # Errors
    /// The first failure.
    pub async fn catch_up(&self, goal: Offset, on_progress: impl Fn(Offset)) -> Result<(), FeedError> {
        let mut checkpoint = self.checkpoint().await?;
        while checkpoint.next < goal {
            let log_batch = cut_at(goal, self.read(checkpoint.next, Duration::ZERO).await?);
            if log_batch.next == checkpoint.next {
                // Offsets need not be dense: nothing lies between the checkpoint and the goal.
                break;
            }
            checkpoint = self.apply(checkpoint, log_batch).await?;
            on_progress(checkpoint.next);
        }
        Ok(())
    }
}

/// Removes the part of a batch that does not lie before `goal`.
pub(crate) fn cut_at(goal: Offset, mut log_batch: LogBatch) -> LogBatch {
    log_batch.events.retain(|recorded| recorded.offset < goal);
    log_batch.epochs.retain(|start| start.offset < goal);
    log_batch.imports.retain(|import| import.offset < goal);
    log_batch.unreadable.retain(|record| record.offset < goal);
    log_batch.next = log_batch.next.min(goal);
    log_batch
}
