//! What the log has of a file, behind the mark of an import that was stopped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use event_log::{ImportLog, ReadLimit};
use events::{Offset, PartitionId, Position, Record, RecordedEvent};

use super::ImportError;

/// The events that an earlier attempt has appended. In each partition these are the first ones of the file, in its order.
pub(super) struct Progressed {
    log: Arc<dyn ImportLog>,
    partitions: BTreeMap<PartitionId, Rest>,
}

/// The events of a partition that were not found in the file yet.
struct Rest {
    /// Where the next read begins.
    next: Offset,
    end: Offset,
    events: VecDeque<RecordedEvent>,
    /// The event that was found last.
    last: Option<Record>,
}

impl Progressed {
    /// The events between two ends of the log.
    pub(super) fn new(log: Arc<dyn ImportLog>, begin: &Position, end: &Position) -> Self {
        let rest = |end, next| Rest { next, end, events: VecDeque::new(), last: None };
        let partitions = end.bounds().map(|(partition, end)| (partition, rest(end, begin.bound(partition))));
        Self { log, partitions: partitions.collect() }
    }

    /// Whether the log has the next event of the file.
    pub(super) async fn has(&mut self, record: &Record) -> Result<bool, ImportError> {
        let partition = self.log.partition_of(&record.stream);
        while let Some(found) = self.next(partition).await? {
            let rest = self.partitions.entry(partition).or_insert_with(Rest::none);
            if found.record == *record {
                rest.last = Some(found.record);
                return Ok(true);
            }
            // An append that was given up may have reached the log nevertheless, before it was sent again.
            if rest.last.as_ref() != Some(&found.record) {
                return Err(ImportError::OtherEvent { partition, offset: found.offset });
            }
        }
        Ok(false)
    }

    /// Fails if the log has an event that is not in the file.
    pub(super) async fn expect_nothing_more(&mut self) -> Result<(), ImportError> {
        let partitions: Vec<_> = self.partitions.keys().copied().collect();
        for partition in partitions {
            if let Some(RecordedEvent { offset, .. }) = self.next(partition).await? {
                return Err(ImportError::OtherEvent { partition, offset });
            }
        }
        Ok(())
    }

    async fn next(&mut self, partition: PartitionId) -> Result<Option<RecordedEvent>, ImportError> {
        let Some(rest) = self.partitions.get_mut(&partition) else {
            return Ok(None);
        };
        while rest.events.is_empty() && rest.next < rest.end {
            let log_batch = self.log.read(partition, rest.next, ReadLimit::STRETCH).await.map_err(ImportError::Read)?;
            let log_batch = log_batch.cut_at(rest.end);
            // Only an import has written behind its mark, so every record is an event. A claim of an epoch, say, is a gap here.
            let offsets = (rest.next.0..log_batch.next.0).map(Offset);
            let mut events = log_batch.events.iter();
            if let Some(offset) =
                offsets.into_iter().find(|offset| events.next().map(|event| event.offset) != Some(*offset))
            {
                return Err(ImportError::OtherEvent { partition, offset });
            }
            if log_batch.next == rest.next {
                return Err(ImportError::OtherEvent { partition, offset: rest.next });
            }
            rest.next = log_batch.next;
            rest.events.extend(log_batch.events);
        }
        Ok(rest.events.pop_front())
    }
}

impl Rest {
    const fn none() -> Self {
        Self { next: Offset::START, end: Offset::START, events: VecDeque::new(), last: None }
    }
}
