//! The second reading of an export: the events of all partitions in the order of their times.
//!
//! A partition keeps its order, whatever the times say: of the first events of all partitions, the oldest comes next. So in a log
//! of one partition, which an export of twelve becomes, the events lie about as they were made, and so does the clock by which keys
//! of requests are forgotten (`event_log::key_clock`).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::sync::Arc;

use event_log::{EventLog, ReadError};
use events::{Epoch, EventId, Offset, PartitionId, Record, RecordedEvent, UnixMillis};

use super::ExportError;
use super::scan::{Scan, ScannedPartition};
use super::valid_events::ValidEvents;

/// Reads on in all partitions.
pub(super) struct Merge {
    sources: Vec<Source>,
    /// The time of the next event of each source that has one, the oldest first.
    heads: BinaryHeap<Reverse<(UnixMillis, PartitionId, usize)>>,
    has_begun: bool,
}

/// What the second reading has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) events: u64,
    /// Records that were left out because their event is there already.
    pub(super) repeats: u64,
}

/// What is left of a partition.
struct Source {
    reader: ValidEvents,
    since: Offset,
    until: Offset,
    /// Read, and not exported yet.
    events: VecDeque<Record>,
    repeated: HashSet<EventId>,
    /// Those of `repeated` that have come.
    seen: HashSet<EventId>,
    /// Records that were left out.
    left_out: u64,
}

impl Merge {
    pub(super) fn new(log: &Arc<dyn EventLog>, scan: Scan) -> Self {
        let sources = scan.partitions.into_iter().map(|scanned| Source::new(Arc::clone(log), scanned));
        Self { sources: sources.collect(), heads: BinaryHeap::new(), has_begun: false }
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, ExportError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            for index in 0..self.sources.len() {
                self.push_head(index).await?;
            }
        }
        let Some(Reverse((_, _, index))) = self.heads.pop() else {
            return Ok(None);
        };
        let record = self.sources[index].events.pop_front();
        self.push_head(index).await?;
        Ok(record)
    }

    /// How many records were left out so far because their event is there already.
    pub(super) fn count_left_out(&self) -> u64 {
        self.sources.iter().map(|source| source.left_out).sum()
    }

    async fn push_head(&mut self, index: usize) -> Result<(), ExportError> {
        let source = &mut self.sources[index];
        source.fill().await.map_err(ExportError::Read)?;
        if let Some(record) = source.events.front() {
            self.heads.push(Reverse((record.occurred_at, source.reader.partition, index)));
        }
        Ok(())
    }
}

impl Source {
    /// Begins at the start of the log if repeats must be told apart, since their first records may lie before `since`.
    fn new(log: Arc<dyn EventLog>, scanned: ScannedPartition) -> Self {
        let ScannedPartition { partition, since, until, repeated, .. } = scanned;
        let (next, epoch) = if repeated.is_empty() { (since, scanned.epoch) } else { (Offset::START, Epoch::FIRST) };
        let reader = ValidEvents { log, partition, next, epoch };
        Self { reader, since, until, events: VecDeque::new(), repeated, seen: HashSet::new(), left_out: 0 }
    }

    /// Reads until there is an event, or none is left.
    async fn fill(&mut self) -> Result<(), ReadError> {
        while self.events.is_empty() {
            let Some(batch) = self.reader.next_batch(self.until).await? else {
                return Ok(());
            };
            for RecordedEvent { offset, record, .. } in batch.events {
                let is_repeat = self.repeated.contains(&record.event_id) && !self.seen.insert(record.event_id);
                if offset < self.since {
                    continue;
                }
                if is_repeat {
                    self.left_out += 1;
                } else {
                    self.events.push_back(record);
                }
            }
        }
        Ok(())
    }
}
