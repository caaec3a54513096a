//! A log of three partitions in memory, with records of every kind and faults on request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use event_log::{
    AppendError, EventLog, ImportLog, LastImport, LogBatch, PlacedImportMark, ReadError, ReadLimit, Unreadable,
};
use events::{
    Epoch, ImportMark, LogId, Marker, Offset, PartitionCount, PartitionId, Position, Record, RecordId, RecordedEvent,
    RecordedMarker, StreamKey,
};
use parking_lot::Mutex;

/// A record of a partition.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Event(Box<Record>),
    EpochStarted(Epoch),
    Mark(ImportMark),
    /// Data that is no record.
    Foreign,
}

/// The log.
pub(crate) struct MemoryLog {
    partitions: PartitionCount,
    entries: Mutex<BTreeMap<PartitionId, Vec<Entry>>>,
    /// How many blocks of an import succeed before one is appended in part and fails.
    failing_block: AtomicUsize,
    /// How many blocks succeed before somebody else writes.
    disturbed_block: AtomicUsize,
    /// Where somebody else writes right before the next mark.
    before_mark: Mutex<Option<PartitionId>>,
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        let Some(partitions) = PartitionCount::new(3) else { panic!("three") };
        let entries = Mutex::new(partitions.partitions().map(|partition| (partition, Vec::new())).collect());
        let (failing_block, disturbed_block) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX));
        Self { partitions, entries, failing_block, disturbed_block, before_mark: Mutex::default() }
    }

    pub(crate) fn fail_after(&self, blocks: usize) {
        self.failing_block.store(blocks, Ordering::SeqCst);
    }

    pub(crate) fn disturb_after(&self, blocks: usize) {
        self.disturbed_block.store(blocks, Ordering::SeqCst);
    }

    pub(crate) fn disturb_before_mark(&self, partition: PartitionId) {
        *self.before_mark.lock() = Some(partition);
    }

    pub(crate) fn put(&self, partition: PartitionId, entry: Entry) {
        self.entries.lock().get_mut(&partition).unwrap().push(entry);
    }

    /// Puts an event into the partition of its stream.
    pub(crate) fn put_event(&self, record: Record) {
        self.put(self.partition_of(&record.stream), Entry::Event(Box::new(record)));
    }

    /// All events, in the order of the partitions.
    pub(crate) fn events(&self) -> Vec<Record> {
        let entries = self.entries.lock();
        let events = entries.values().flatten().filter_map(|entry| match entry {
            Entry::Event(record) => Some((**record).clone()),
            _ => None,
        });
        events.collect()
    }
}

/// Counts down; whether it was zero.
fn is_over(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
}

fn id_of(partition: PartitionId, offset: Offset) -> RecordId {
    RecordId::of_content([Some(format!("{partition}:{offset}").as_bytes())])
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        self.put_event(record);
        Ok(self.end().await.unwrap())
    }

    async fn read(&self, partition: PartitionId, from: Offset, limit: ReadLimit) -> Result<LogBatch, ReadError> {
        let entries = self.entries.lock();
        let entries = entries.get(&partition).ok_or(ReadError::UnknownPartition(partition))?;
        let mut log_batch = LogBatch::empty(from);
        let (skipped, records) = (usize::try_from(from.0).unwrap(), usize::try_from(limit.records).unwrap());
        for entry in entries.iter().skip(skipped).take(records) {
            let offset = log_batch.next;
            match entry.clone() {
                Entry::Event(record) => log_batch.events.push(RecordedEvent { partition, offset, record: *record }),
                Entry::EpochStarted(epoch) => {
                    let marker = Marker::EpochStarted(epoch);
                    log_batch.markers.push(RecordedMarker { partition, offset, id: id_of(partition, offset), marker });
                }
                Entry::Mark(mark) => {
                    // As in a real log, the positions of one that an import begins are marked.
                    let LogId(id) = LogId::of_marked_log(*id_of(partition, offset).0.as_bytes());
                    log_batch.imports.push(PlacedImportMark { offset, id: RecordId(id), mark });
                }
                Entry::Foreign => {
                    let (id, reason) = (Some(id_of(partition, offset)), "foreign".to_owned());
                    log_batch.unreadable.push(Unreadable { partition, offset, id, reason });
                }
            }
            log_batch.next = offset.next();
        }
        Ok(log_batch)
    }

    async fn end(&self) -> Result<Position, ReadError> {
        let mut end = Position::default();
        for (partition, entries) in &*self.entries.lock() {
            end.merge(&Position::up_to(*partition, Offset(entries.len() as u64)));
        }
        Ok(end)
    }
}

#[async_trait]
impl ImportLog for MemoryLog {
    fn partition_of(&self, stream: &StreamKey) -> PartitionId {
        self.partitions.partition_of(stream)
    }

    async fn append_imported(&self, mut records: Vec<Record>) -> Result<Position, AppendError> {
        if is_over(&self.disturbed_block) {
            self.put(self.partition_of(&records[0].stream), Entry::EpochStarted(Epoch(1)));
        }
        let fails = is_over(&self.failing_block);
        if fails {
            records.truncate(records.len() / 2);
            self.fail_after(usize::MAX);
        }
        records.into_iter().for_each(|record| self.put_event(record));
        if fails {
            return Err(AppendError::Unacknowledged("on purpose".into()));
        }
        Ok(self.end().await.unwrap())
    }

    async fn append_import_mark(&self, mark: ImportMark) -> Result<(), AppendError> {
        if let Some(partition) = self.before_mark.lock().take() {
            self.put(partition, Entry::EpochStarted(Epoch(1)));
        }
        self.put(PartitionId(0), Entry::Mark(mark));
        Ok(())
    }

    async fn last_import(&self) -> Result<Option<LastImport>, ReadError> {
        let entries = self.entries.lock();
        let last = entries[&PartitionId(0)].iter().rev().find_map(|entry| match entry {
            Entry::Mark(mark) => Some(mark.clone()),
            _ => None,
        });
        Ok(last.map(|mark| LastImport::in_partition(mark, PartitionId(0))))
    }
}
