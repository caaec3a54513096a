//! A log into which exports are imported.

use async_trait::async_trait;
use events::{ImportMark, PartitionId, Position, Record, StreamKey};

use crate::log::{AppendError, EventLog, ReadError};

/// A log into which the events of exports are imported, and the marks with which each import begins and ends.
///
/// The positions of a log that an import begins are marked, by [the log's identity](events::LogId::mark): they are none of the log that was
/// exported.
///
/// Nobody else may append meanwhile. An adapter that cannot exclude others leaves it to the caller to notice them, by the
/// positions that it returns.
#[async_trait]
pub trait ImportLog: EventLog {
    /// The partition of a stream.
    fn partition_of(&self, stream: &StreamKey) -> PartitionId;

    /// Appends events in their order, each to the partition of its stream. Unlike [`EventLog::append`] it takes any number of a
    /// parent, also one that is taken: a log in which the numbers of concurrent posts lie in another order is imported as it is.
    /// The position covers the events and may cover more of their partitions.
    ///
    /// After an error the log may have some of the events.
    async fn append_imported(&self, records: Vec<Record>) -> Result<Position, AppendError>;

    /// Appends a mark. Readers pass over it.
    async fn append_import_mark(&self, mark: ImportMark) -> Result<(), AppendError>;

    /// Finds the last mark; `None` in a log without marks.
    async fn last_import(&self) -> Result<Option<LastImport>, ReadError>;
}

/// The last mark of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastImport {
    /// The mark.
    pub mark: ImportMark,
    /// The end of the log right behind the mark, if nobody else has written since [`ImportMark::end`] was read. Otherwise it lies before
    /// what the other has written, so that who goes on from here meets that.
    pub next: Position,
}

impl LastImport {
    /// Of a log in which marks are records of `partition`.
    pub fn in_partition(mark: ImportMark, partition: PartitionId) -> Self {
        let mut next = mark.end.clone();
        next.merge(&Position::up_to(partition, mark.end.bound(partition).next()));
        Self { mark, next }
    }
}
