//! Imports into the topic. Marks are records of partition 0, and the first record of a log with imports is one.

use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, ImportLog, LastImport, LogBatch, PlacedImportMark, ReadError, ReadLimit};
use events::{ImportMark, ImportPhase, Offset, PartitionId, Position, Record, StreamKey};

use super::cluster::PARTITIONS;
use super::log::KafkaLog;

/// The partition of the marks.
const MARK_PARTITION: PartitionId = PartitionId(0);
/// Records that are read at a time, in search of marks.
const RECORDS_PER_READ: u32 = 1_000;

#[async_trait]
impl ImportLog for KafkaLog {
    fn partition_of(&self, stream: &StreamKey) -> PartitionId {
        PARTITIONS.partition_of(stream)
    }

    async fn append_imported(&self, records: Vec<Record>) -> Result<Position, AppendError> {
        let placed: Vec<_> = records.into_iter().map(|record| (self.partition_of(&record.stream), record)).collect();
        self.producer.append_all(&placed).await
    }

    async fn append_import_mark(&self, mark: ImportMark) -> Result<(), AppendError> {
        self.producer.append_import_mark(MARK_PARTITION, &mark).await.map(drop)
    }

    /// Looks at the first record and at the last, which tells most often. Otherwise it reads the whole partition.
    async fn last_import(&self) -> Result<Option<LastImport>, ReadError> {
        let end = self.end().await?.bound(MARK_PARTITION);
        if end == Offset::START || self.read_marks(Offset::START, 1).await?.imports.is_empty() {
            return Ok(None);
        }
        let last = self.read_marks(Offset(end.0 - 1), 1).await?.imports.pop();
        if let Some(last) = last.filter(|last| last.mark.phase == ImportPhase::Ended) {
            return Ok(Some(to_last_import(last)));
        }
        let (mut next, mut found) = (Offset::START, None);
        while next < end {
            let log_batch = self.read_marks(next, RECORDS_PER_READ).await?;
            if log_batch.next == next {
                // Offsets need not be dense.
                break;
            }
            next = log_batch.next;
            found = log_batch.imports.into_iter().last().or(found);
        }
        Ok(found.map(to_last_import))
    }
}

impl KafkaLog {
    /// Whether an import has begun and not ended. Reads some records at most, unless very many at the end of the partition are
    /// neither numbered nor marks.
    pub(super) async fn has_unfinished_import(&self) -> Result<bool, ReadError> {
        let end = self.end().await?.bound(MARK_PARTITION);
        if end == Offset::START || self.read_marks(Offset::START, 1).await?.imports.is_empty() {
            return Ok(false);
        }
        let last = self.read_marks(Offset(end.0.saturating_sub(RECORDS_PER_READ.into())), RECORDS_PER_READ).await?;
        // Nobody begins an epoch before the import has ended, and no imported event has one.
        if last.epoch_starts().next().is_some() || last.events.iter().any(|event| event.record.epoch.is_some()) {
            return Ok(false);
        }
        let mark = match last.imports.into_iter().last() {
            Some(placed) => Some(placed.mark),
            None => self.last_import().await?.map(|last| last.mark),
        };
        Ok(mark.is_some_and(|mark| mark.phase == ImportPhase::Began))
    }

    async fn read_marks(&self, from: Offset, records: u32) -> Result<LogBatch, ReadError> {
        self.read(MARK_PARTITION, from, ReadLimit { records, wait: Duration::ZERO }).await
    }
}

fn to_last_import(PlacedImportMark { offset, mark, .. }: PlacedImportMark) -> LastImport {
    let mut next = mark.end.clone();
    next.merge(&Position::up_to(MARK_PARTITION, offset.next()));
    LastImport { mark, next }
}
