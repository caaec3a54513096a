//! The event log.

use std::time::Duration;

use async_trait::async_trait;
use events::{
    Epoch, ImportMark, KnownRecord, LogId, Marker, Offset, PartitionCount, PartitionId, Position, Record, RecordId,
    RecordedEvent, RecordedMarker,
};

use crate::BackendError;

/// An append-only log of records in partitions, kept for ever.
///
/// - **Durable:** once an append is answered with a position, every reader finds its record. The record survives a crash
///   of this process and of the machine, if the storage medium keeps what it has synced.
/// - **Ordered:** the records of a partition have one order, the same for every reader, and ascending offsets. All records
///   of a stream are in one partition. If an append begins after another append of its stream was answered, its record
///   follows the other's record.
/// - **Unaltered:** a reader gets each record byte for byte as it was appended.
///
/// The outcome of a failed append is unknown unless the error says otherwise: the record may still reach the log later. A
/// caller that appends the record again may write it twice; projections recognise the duplicate by its event id.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends one record. The position that is returned covers the record, and may cover more of its partition.
    ///
    /// The first poll of the future queues the record. Of two appends of one stream, the one that is queued first comes
    /// first in the log.
    ///
    /// A caller that drops the future does not withdraw the record.
    ///
    /// A log that keeps the last number of each parent itself refuses a number that is not above it.
    async fn append(&self, record: Record) -> Result<Position, AppendError>;

    /// Reads the records of `partition` from `from` on, in log order, as far as `limit` allows.
    ///
    /// At the end of the log it waits for a record, for `limit.wait` at most. If none comes, the batch is empty. Data that
    /// is no record is reported in [`LogBatch::unreadable`], and a record that only newer releases can read in [`LogBatch::newer`].
    /// Neither stops a read; who must not pass over a newer record stops before it.
    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError>;

    /// Finds the end of every partition. The position covers each append that was answered before the call.
    async fn end(&self) -> Result<Position, ReadError>;

    /// The identity of the log. It never changes, and every reader finds the same. `None` while the log has none.
    ///
    /// A log that does not give itself an identity has that of the first record in partition 0.
    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        Ok(match self.identify(PartitionId(0), Offset::START).await? {
            Identified::Record(RecordId(id)) => Some(LogId(id)),
            Identified::Damaged | Identified::Nothing => None,
        })
    }

    /// Which record is at `offset`. The log must reach to `offset` at least.
    async fn identify(&self, partition: PartitionId, offset: Offset) -> Result<Identified, ReadError> {
        let log_batch = self.read(partition, offset, ReadLimit { records: 1, wait: Duration::ZERO }).await?;
        Ok(match log_batch.last_record() {
            Some(record) if record.offset == offset => Identified::Record(record.id),
            None if log_batch.unreadable.iter().any(|record| record.offset == offset) => Identified::Damaged,
            Some(_) | None => Identified::Nothing,
        })
    }

    /// Whether the log is known to be away. Callers then reserve no number, because the append would fail.
    fn is_away(&self) -> bool {
        false
    }
}

/// An event log to which markers can be appended.
#[async_trait]
pub trait MarkerLog: EventLog {
    /// The number of partitions.
    fn partitions(&self) -> PartitionCount;

    /// Appends a marker once, and returns the marker's own offset.
    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError>;
}

/// The content of a partition from the requested offset up to `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// The events, in log order.
    pub events: Vec<RecordedEvent>,
    /// The markers, in log order.
    pub markers: Vec<RecordedMarker>,
    /// The marks of imports, in log order. A log that keeps its marks beside the records has none here.
    pub imports: Vec<PlacedImportMark>,
    /// The data that is no record, in log order.
    pub unreadable: Vec<Unreadable>,
    /// The records that only newer releases can read, in log order. An event of which only the JSON is newer is not among them.
    pub newer: Vec<NewerRecord>,
    /// The offset at which the next batch begins. If this batch is empty, it is the requested offset.
    pub next: Offset,
}

impl LogBatch {
    /// A batch with nothing in it.
    pub const fn empty(next: Offset) -> Self {
        Self {
            events: Vec::new(),
            markers: Vec::new(),
            imports: Vec::new(),
            unreadable: Vec::new(),
            newer: Vec::new(),
            next,
        }
    }

    /// The offset and the epoch of each start of an epoch, in log order.
    pub fn epoch_starts(&self) -> impl Iterator<Item = (Offset, Epoch)> {
        self.markers.iter().filter_map(|marker| Some((marker.offset, marker.epoch_started()?)))
    }

    /// The number of records in it, of every kind.
    pub const fn record_count(&self) -> usize {
        let Self { events, markers, imports, unreadable, newer, next: _ } = self;
        events.len() + markers.len() + imports.len() + unreadable.len() + newer.len()
    }

    /// The part of it that lies before `end`.
    #[must_use]
    pub fn cut_at(mut self, end: Offset) -> Self {
        let Self { events, markers, imports, unreadable, newer, next } = &mut self;
        events.retain(|recorded| recorded.offset < end);
        markers.retain(|marker| marker.offset < end);
        imports.retain(|import| import.offset < end);
        unreadable.retain(|record| record.offset < end);
        newer.retain(|record| record.offset < end);
        *next = (*next).min(end);
        self
    }

    /// Fails if it has a record that only newer releases can read, for a reader that has to read everything.
    ///
    /// # Errors
    /// [`ReadError::Newer`].
    pub fn refuse_newer(&self) -> Result<(), ReadError> {
        self.newer.first().map_or(Ok(()), |record| Err(ReadError::Newer(record.clone())))
    }

    /// The last record that has an identity.
    pub fn last_record(&self) -> Option<KnownRecord> {
        let event = self.events.last().map(|event| (event.offset, event.record.event_id.into()));
        let marker = self.markers.last().map(|marker| (marker.offset, marker.id));
        let unreadable = self.unreadable.iter().rev().find_map(|record| Some((record.offset, record.id?)));
        let newer = self.newer.last().map(|record| (record.offset, record.id));
        let import = self.imports.last().map(|import| (import.offset, import.id));
        let last = [event, marker, import, unreadable, newer].into_iter().flatten().max_by_key(|(offset, _)| *offset);
        last.map(|(offset, id)| KnownRecord { offset, id })
    }
}

/// Which record is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identified {
    /// This one.
    Record(RecordId),
    /// One that has lost its identity.
    Damaged,
    /// None.
    Nothing,
}

/// A mark of an import, at its place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedImportMark {
    /// The offset of the mark.
    pub offset: Offset,
    /// The identity of its record.
    pub id: RecordId,
    /// The mark.
    pub mark: ImportMark,
}

/// Data that no release can read as a record: it is damaged, or another program wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The partition of the data.
    pub partition: PartitionId,
    /// The offset of the data.
    pub offset: Offset,
    /// Its identity; `None` if the log lost it with the rest.
    pub id: Option<RecordId>,
    /// The defect, in words.
    pub reason: String,
}

/// A record that only newer releases can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerRecord {
    /// The partition of the record.
    pub partition: PartitionId,
    /// The offset of the record.
    pub offset: Offset,
    /// Its identity.
    pub id: RecordId,
    /// The kind of record, in words that follow "it is".
    pub what: String,
}

/// Bounds of one [`EventLog::read`].
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Most records of one batch; at least 1.
    pub records: u32,
    /// Longest wait at the end of the log.
    pub wait: Duration,
}

impl ReadLimit {
    /// For whoever reads a stretch of the log from one end to the other: many records at a time, and no wait.
    pub const STRETCH: Self = Self { records: 1_000, wait: Duration::ZERO };
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many appends are waiting. The record is not in the log.
    #[error("too many appends are waiting for the event log; try again")]
    Overloaded,
    /// The log has no such partition.
    #[error("the log has no partition {0}")]
    UnknownPartition(PartitionId),
    /// The log is being closed. The record is not in the log.
    #[error("the event log is closed")]
    Closed,
    /// An import into the log has not ended. The record is not in the log.
    #[error("an import into the event log has not ended, and nothing else is written until it has")]
    Importing,
    /// The log has this number of the parent already, or a higher one. The record is not in the log. Only a log that keeps the
    /// last numbers itself notices this.
    #[error(
        "the number {number} is not above {last}, the last one of its application or chat in the log; the event was not \
         appended; the next number is above the last one; verify the log"
    )]
    NumberTaken {
        /// The number of the record.
        number: u32,
        /// The last number of its parent.
        last: u32,
    },
    /// The log could not be written. The record is not in the log.
    #[error("the event log cannot be written")]
    NotWritten(#[source] BackendError),
    /// The log did not acknowledge the record. Whether the record is in the log is unknown.
    #[error("the event log did not acknowledge the append")]
    Unacknowledged(#[source] BackendError),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is beyond the log's end: this is another log, or the log has lost its end.
    #[error(
        "offset {from} of partition {partition} lies beyond the log's end, {end}: this is another log or a part of it \
         was lost; restore the log, or delete the projections and let them be rebuilt"
    )]
    BeyondEnd {
        /// The requested partition.
        partition: PartitionId,
        /// The requested offset.
        from: Offset,
        /// The end of the partition.
        end: Offset,
    },
    /// The offset is before the log's beginning: old records were deleted.
    #[error(
        "offset {from} of partition {partition} is no longer in the log, which begins at {begin}: events were deleted; \
         restore the log from a copy, and make sure that it keeps events for ever"
    )]
    Truncated {
        /// The requested partition.
        partition: PartitionId,
        /// The requested offset.
        from: Offset,
        /// The first offset of the partition.
        begin: Offset,
    },
    /// The log has no such partition.
    #[error("the log has no partition {0}")]
    UnknownPartition(PartitionId),
    /// A newer release has written the record, and the reader must not pass over it. See [`LogBatch::refuse_newer`].
    #[error(
        "offset {} of partition {} is {}, which is newer than this program knows; upgrade this program", .0.offset, .0.partition, .0.what
    )]
    Newer(NewerRecord),
    /// The log cannot be reached or read.
    #[error("the event log cannot be read")]
    Unavailable(#[source] BackendError),
}
