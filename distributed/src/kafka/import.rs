//! Imports into the topic. Marks are records of partition 0, and the first record of a log with imports is one.

use std::time::Duration;

use async_trait::async_trait;
use event_log::{AppendError, EventLog, ImportLog, LastImport, ReadError, ReadLimit};
use events::{ImportMark, ImportPhase, Offset, PartitionId, Position, Record, StreamKey};

use super::cluster::PARTITIONS;
use super::log::KafkaLog;

/// The partition of the marks.
const MARK_PARTITION: PartitionId = PartitionId(0);
/// For a look at one record.
const ONE_RECORD: ReadLimit = ReadLimit { records: 1, wait: Duration::ZERO };

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
        let mark = match self.look_at_ends(end).await? {
            Ends::NoImport => None,
            Ends::Ended(mark) => Some(mark),
            Ends::Unknown => self.read_stretch(Offset::START, end).await?.last_mark,
        };
        Ok(mark.map(|mark| LastImport::in_partition(mark, MARK_PARTITION)))
    }
}

/// What the first record of the partition of the marks and the last one tell about imports.
enum Ends {
    NoImport,
    /// The last import has ended, and nothing follows its mark.
    Ended(ImportMark),
    Unknown,
}

/// What a stretch of the partition of the marks tells about imports.
struct Stretch {
    last_mark: Option<ImportMark>,
    /// Whether a record has an epoch or begins one.
    has_epoch: bool,
}

impl KafkaLog {
    /// Whether an import has begun and not ended. Reads some records at most, unless very many at the end of the partition are
    /// neither numbered nor marks.
    pub(super) async fn has_unfinished_import(&self) -> Result<bool, ReadError> {
        let end = self.end().await?.bound(MARK_PARTITION);
        if !matches!(self.look_at_ends(end).await?, Ends::Unknown) {
            return Ok(false);
        }
        let last_records = Offset(end.0.saturating_sub(ReadLimit::STRETCH.records.into()));
        let Stretch { last_mark, has_epoch } = self.read_stretch(last_records, end).await?;
        // Nobody begins an epoch before the import has ended, and no imported event has one.
        if has_epoch {
            return Ok(false);
        }
        let mark = match last_mark {
            Some(mark) => Some(mark),
            None => self.last_import().await?.map(|last| last.mark),
        };
        Ok(mark.is_some_and(|mark| mark.phase == ImportPhase::Began))
    }

    async fn look_at_ends(&self, end: Offset) -> Result<Ends, ReadError> {
        if end == Offset::START || self.read(MARK_PARTITION, Offset::START, ONE_RECORD).await?.imports.is_empty() {
            return Ok(Ends::NoImport);
        }
        let last = self.read(MARK_PARTITION, Offset(end.0 - 1), ONE_RECORD).await?.imports.pop();
        let ended = last.map(|last| last.mark).filter(|mark| mark.phase == ImportPhase::Ended);
        Ok(ended.map_or(Ends::Unknown, Ends::Ended))
    }

    /// Reads every record from `from` up to `end`. One read may bring fewer than it asks for.
    async fn read_stretch(&self, from: Offset, end: Offset) -> Result<Stretch, ReadError> {
        let mut next = from;
        let mut stretch = Stretch { last_mark: None, has_epoch: false };
        while next < end {
            let log_batch = self.read(MARK_PARTITION, next, ReadLimit::STRETCH).await?.cut_at(end);
            if log_batch.next == next {
                // Offsets need not be dense.
                break;
            }
            next = log_batch.next;
            stretch.has_epoch |= log_batch.epoch_starts().next().is_some()
                || log_batch.events.iter().any(|event| event.record.epoch.is_some());
            stretch.last_mark = log_batch.imports.into_iter().last().map(|placed| placed.mark).or(stretch.last_mark);
        }
        Ok(stretch)
    }
}
