//! A log with one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use events::{EventId, Offset, PartitionId, Position, Record, UnixMillis};
use uuid::Uuid;

use crate::log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit};

/// A fault of a log. Each check of [`log_conformance!`](crate::log_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the log does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFault {
    DropsTheTime,
    ReadsFromTheStart,
    IgnoresTheLimit,
    EndLagsBehind,
    NeverWaits,
    ReadsNothingBeyondTheEnd,
    LosesAnAppend,
    SwapsNeighbours,
    ChangesRecords,
    HidesUnreadableRecords,
    GivesNewIdentities,
}

struct BrokenLog {
    log: Arc<dyn EventLog>,
    fault: LogFault,
    calls: AtomicU64,
}

impl LogFault {
    /// Wraps a log without faults in a log with this fault.
    pub fn inject(self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        Arc::new(BrokenLog { log, fault: self, calls: AtomicU64::new(0) })
    }
}

#[async_trait]
impl EventLog for BrokenLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fault == LogFault::LosesAnAppend && call == 100 {
            return Ok(self.log.end().await.unwrap());
        }
        self.log.append(record).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let from = if self.fault == LogFault::ReadsFromTheStart { Offset::START } else { from };
        let limit = match self.fault {
            LogFault::IgnoresTheLimit => ReadLimit { records: u32::MAX, ..limit },
            _ => limit,
        };
        if self.fault == LogFault::NeverWaits && from >= self.log.end().await?.bound(partition) {
            return Ok(LogBatch::empty(from));
        }
        let mut batch = match self.log.read(partition, from, limit).await {
            Err(ReadError::BeyondEnd { .. }) if self.fault == LogFault::ReadsNothingBeyondTheEnd => {
                LogBatch::empty(from)
            }
            batch => batch?,
        };
        match self.fault {
            LogFault::DropsTheTime => {
                batch.events.iter_mut().for_each(|recorded| recorded.record.occurred_at = UnixMillis(0));
            }
            LogFault::GivesNewIdentities => {
                batch.events.iter_mut().for_each(|recorded| recorded.record.event_id = EventId(Uuid::new_v4()));
            }
            LogFault::HidesUnreadableRecords => batch.unreadable.clear(),
            LogFault::SwapsNeighbours => batch.events.chunks_mut(2).for_each(|pair| {
                if let [one, other] = pair {
                    std::mem::swap(&mut one.record, &mut other.record);
                }
            }),
            LogFault::ChangesRecords => {
                let call = self.calls.fetch_add(1, Ordering::SeqCst);
                batch.events.iter_mut().for_each(|recorded| recorded.record.occurred_at = UnixMillis(call));
            }
            _ => {}
        }
        Ok(batch)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let end = self.log.end().await?;
        match self.fault {
            LogFault::EndLagsBehind => {
                Ok(Position::up_to(PartitionId(0), Offset(end.bound(PartitionId(0)).0.saturating_sub(1))))
            }
            _ => Ok(end),
        }
    }
}
