//! The log of events.

use std::time::Duration;

use async_trait::async_trait;
use events::{EpochStart, Offset, PartitionId, Position, Record, RecordedEvent};

use crate::BackendError;

/// An append-only log of records in partitions, kept for ever.
///
/// - **Durable:** a record whose append was answered with a position survives the crash of this process and of the
///   machine (as far as the medium does what it says), and is read by everybody from then on.
/// - **Ordered:** within a partition records lie in one order, the same for every reader, and offsets ascend. Records
///   of one stream lie in one partition. An append that begins after another of its stream was answered lies after it.
/// - **Unaltered:** what is read is what was appended, to the byte.
///
/// The outcome of a failed append is unknown unless the error says otherwise: the record may still come to lie in the
/// log. Appending it again writes it twice, which projections recognise by its event id.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends one record. The answer covers it, and may cover more of its partition.
    ///
    /// Dropping the future does not take the record back.
    async fn append(&self, record: Record) -> Result<Position, AppendError>;

    /// The records of `partition` at `from` and after it, in log order, as far as `limit` allows.
    ///
    /// At the end of the log it waits for something to come, at most `limit.wait`; then the answer is empty. What lies
    /// there and is no record is told and passed, so that nobody is stopped by it for ever; what a newer release has
    /// written is an error once everything before it has been read.
    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError>;

    /// The end of every partition: it covers each append that was answered before the call.
    async fn end(&self) -> Result<Position, ReadError>;

    /// Whether the log is known to be away: then it is of no use to reserve a number for an append.
    fn is_away(&self) -> bool {
        false
    }
}

/// A piece of a partition, all of it from where it was asked for up to `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Its events, in log order.
    pub events: Vec<RecordedEvent>,
    /// The epochs that start in it, in log order.
    pub epochs: Vec<EpochStart>,
    /// What lies in it and is neither, in log order.
    pub unreadable: Vec<Unreadable>,
    /// Where the next batch begins; where this one was asked for if there is nothing in it.
    pub next: Offset,
}

impl LogBatch {
    /// Nothing, from `next` on.
    pub const fn empty(next: Offset) -> Self {
        Self { events: Vec::new(), epochs: Vec::new(), unreadable: Vec::new(), next }
    }
}

/// What is no record of any release, and never will be: damaged, or written by somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// Bounds of one [`EventLog::read`].
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Most records of one answer; at least 1.
    pub records: u32,
    /// Longest wait at the end of the log.
    pub wait: Duration,
}

/// Why a record was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// More appends wait than the log takes; this one is not in it.
    #[error("too many appends are waiting for the event log; try again")]
    Overloaded,
    /// The log is being closed; this append is not in it.
    #[error("the event log is closed")]
    Closed,
    /// The log did not acknowledge the record. Whether it lies there is unknown.
    #[error("the event log did not acknowledge the append")]
    Unacknowledged(#[source] BackendError),
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The place asked for is not in this log: it is another log, or its end was lost.
    #[error(
        "offset {from} of partition {partition} lies beyond the log's end, {end}: this is another log or a part of it \
         was lost; restore the log, or delete the projections and let them be rebuilt"
    )]
    BeyondEnd {
        /// The partition asked for.
        partition: PartitionId,
        /// The offset asked for.
        from: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The place asked for is no longer in this log: its beginning was cut off.
    #[error(
        "offset {from} of partition {partition} is no longer in the log, which begins at {begin}: events were deleted; \
         restore the log from a copy, and see that it keeps them for ever"
    )]
    Truncated {
        /// The partition asked for.
        partition: PartitionId,
        /// The offset asked for.
        from: Offset,
        /// Where the log begins.
        begin: Offset,
    },
    /// The log has no such partition.
    #[error("the log has no partition {0}")]
    UnknownPartition(PartitionId),
    /// The log cannot be reached or read.
    #[error("the event log cannot be read")]
    Unavailable(#[source] BackendError),
    /// A newer release has written what is there.
    #[error(
        "offset {offset} of partition {partition} is {what}, which is newer than this program knows; upgrade this reader \
         before the writers"
    )]
    Newer {
        /// Its partition.
        partition: PartitionId,
        /// Its place there.
        offset: Offset,
        /// What it says to be.
        what: String,
    },
}
