//! A log into which exports are imported, with one fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use events::{ImportMark, LogId, Offset, PartitionId, Position, Record, StreamKey};
use uuid::Uuid;

use crate::import_log::{ImportLog, LastImport};
use crate::log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit, Unreadable};

/// A fault of an import. Each check of [`import_conformance!`](crate::import_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the log does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFault {
    ReversesEvents,
    MisplacesStreams,
    RefusesTakenNumbers,
    EndLagsBehind,
    ForgetsTheLastMark,
    ShowsMarks,
    MarksNoPositions,
}

struct BrokenImport {
    log: Arc<dyn ImportLog>,
    fault: ImportFault,
    has_mark: AtomicBool,
}

impl ImportFault {
    /// Wraps a log without faults in a log with this fault.
    pub fn inject(self, log: Arc<dyn ImportLog>) -> Arc<dyn ImportLog> {
        Arc::new(BrokenImport { log, fault: self, has_mark: AtomicBool::new(false) })
    }
}

#[async_trait]
impl ImportLog for BrokenImport {
    fn partition_of(&self, stream: &StreamKey) -> PartitionId {
        match self.fault {
            ImportFault::MisplacesStreams => PartitionId(self.log.partition_of(stream).0 + 1),
            _ => self.log.partition_of(stream),
        }
    }

    async fn append_imported(&self, mut records: Vec<Record>) -> Result<Position, AppendError> {
        if self.fault == ImportFault::ReversesEvents {
            records.reverse();
        }
        if self.fault == ImportFault::RefusesTakenNumbers {
            let mut last_numbers = BTreeMap::new();
            for record in &records {
                let number = record.number.map_or(0, events::Number::get);
                let last = last_numbers.insert(record.stream, number).unwrap_or(0);
                if number <= last {
                    return Err(AppendError::NumberTaken { number, last });
                }
            }
        }
        let position = self.log.append_imported(records).await?;
        Ok(if self.fault == ImportFault::EndLagsBehind { step_back(&position) } else { position })
    }

    async fn append_import_mark(&self, mark: ImportMark) -> Result<(), AppendError> {
        self.has_mark.store(true, Ordering::SeqCst);
        self.log.append_import_mark(mark).await
    }

    async fn last_import(&self) -> Result<Option<LastImport>, ReadError> {
        if self.fault == ImportFault::ForgetsTheLastMark { Ok(None) } else { self.log.last_import().await }
    }
}

fn step_back(position: &Position) -> Position {
    let mut before = Position::default();
    for (partition, bound) in position.bounds() {
        before.merge(&Position::up_to(partition, Offset(bound.0.saturating_sub(1))));
    }
    before
}

#[async_trait]
impl EventLog for BrokenImport {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.log.append(record).await
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let mut batch = self.log.read(partition, from, limit).await?;
        if self.fault == ImportFault::ShowsMarks && self.has_mark.load(Ordering::SeqCst) {
            batch.unreadable.push(Unreadable { partition, offset: from, id: None, reason: "a mark".to_owned() });
        }
        Ok(batch)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        self.log.end().await
    }

    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        match self.fault {
            ImportFault::MarksNoPositions => Ok(Some(LogId(Uuid::nil()))),
            _ => self.log.id().await,
        }
    }
}
