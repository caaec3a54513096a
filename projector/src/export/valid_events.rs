//! Reads a partition without void events.

use std::sync::Arc;

use backon::Retryable;
use event_log::{EventLog, LogBatch, ReadError, ReadLimit, Unreadable};
use events::{Epoch, Offset, PartitionId, RecordedEvent};
use thiserror_ext::AsReport;

use crate::epochs::drop_void_events;
use crate::retries::PAUSES;

/// A place in a partition, from which its valid events are read.
pub(super) struct ValidEvents {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) partition: PartitionId,
    pub(super) next: Offset,
    /// The highest epoch that started before `next`.
    pub(super) epoch: Epoch,
}

/// Some records of a partition.
pub(super) struct ValidBatch {
    pub(super) events: Vec<RecordedEvent>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl ValidEvents {
    /// Reads on, up to `until` at most; `None` once that is reached.
    pub(super) async fn next_batch(&mut self, until: Offset) -> Result<Option<ValidBatch>, ReadError> {
        if self.next >= until {
            return Ok(None);
        }
        let mut log_batch = self.read().await?.cut_at(until);
        log_batch.refuse_newer()?;
        if log_batch.next == self.next {
            // Offsets need not be dense: nothing lies before the end.
            self.next = until;
            return Ok(None);
        }
        self.next = log_batch.next;
        let unreadable = std::mem::take(&mut log_batch.unreadable);
        let (events, epoch) = drop_void_events(log_batch, self.epoch);
        self.epoch = epoch;
        Ok(Some(ValidBatch { events, unreadable }))
    }

    async fn read(&self) -> Result<LogBatch, ReadError> {
        let read = || self.log.read(self.partition, self.next, ReadLimit::STRETCH);
        let warn = |error: &ReadError, _| tracing::warn!(error = %error.as_report(), "trying again");
        read.retry(PAUSES).when(|error| matches!(error, ReadError::Unavailable(_))).notify(warn).await
    }
}
