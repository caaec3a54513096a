//! A log and its counts in memory, with faults on request, for the tests of the sequencer on Redis.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use distributed::ports::{Checkpoints, CountsReader, CountsSnapshot, IdempotencyRecord};
use event_log::{AppendError, BackendError, EventLog, LogBatch, MarkerLog, ReadError, ReadLimit};
use events::{
    ApplicationToken, ChatKey, Epoch, EventType, LogId, Marker, Offset, PartitionCount, PartitionId, Position, Record,
    RecordedEvent, RequestKey, StreamKey,
};
use parking_lot::{Mutex, MutexGuard};
use read_model::Checkpoint;
use tokio::sync::watch;
use uuid::Uuid;

use crate::containers::wait_for;

/// Partitions, unless the test asks for another number.
const PARTITIONS: u16 = 3;

/// -1001, librdkafka's offset for "unknown", as an unsigned number.
const NOWHERE: Offset = Offset(u64::MAX - 1000);

/// An entry of a partition.
#[derive(Clone)]
enum Entry {
    Event(Box<Record>),
    Marker(Marker),
}

/// Partitions in memory. `counts` applies what is appended at once, unless the test holds it back.
pub(crate) struct MemoryLog {
    partitions: PartitionCount,
    entries: Mutex<BTreeMap<PartitionId, Vec<Entry>>>,
    /// How far `counts` has applied each partition while it is held back. `None` while it is not.
    counts_bound: Mutex<Option<Position>>,
    /// Whether the log reports that it is away.
    away: AtomicBool,
    /// The kind of marker whose acknowledgements are held.
    held: watch::Sender<Option<MarkerKind>>,
    /// How often the checkpoints of `counts` were read.
    checkpoint_reads: AtomicU64,
    /// The identity of the log, and that of the log which `counts` was made from.
    log_ids: Mutex<[Option<LogId>; 2]>,
    /// Whether the log answers the claim of an epoch with a wrong offset.
    misplaces_claims: AtomicBool,
}

/// The kinds of markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerKind {
    Claims,
    Starts,
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        Self::with_partitions(PartitionCount::new(PARTITIONS).unwrap())
    }

    pub(crate) fn with_partitions(partitions: PartitionCount) -> Self {
        let entries = Mutex::new(partitions.partitions().map(|partition| (partition, Vec::new())).collect());
        Self {
            partitions,
            entries,
            counts_bound: Mutex::new(None),
            away: AtomicBool::new(false),
            held: watch::Sender::new(None),
            checkpoint_reads: AtomicU64::new(0),
            log_ids: Mutex::default(),
            misplaces_claims: AtomicBool::new(false),
        }
    }

    /// From now on `counts` applies nothing, until [`Self::resume_counts`].
    pub(crate) fn hold_counts(&self) {
        let end = find_end(&self.entries());
        *self.counts_bound.lock() = Some(end);
    }

    /// From now on `counts` lacks the last entry of a partition, and applies nothing, until [`Self::resume_counts`].
    pub(crate) fn hold_counts_before_last_of(&self, partition: PartitionId) {
        let entries = self.entries();
        let mut bound = Position::default();
        for (own, entries) in entries.iter() {
            let kept = entries.len() - usize::from(*own == partition);
            bound.merge(&Position::up_to(*own, Offset(kept as u64)));
        }
        *self.counts_bound.lock() = Some(bound);
    }

    /// Loses the entries of a partition from an offset on. `counts` is made again from what is left.
    pub(crate) fn lose_tail(&self, partition: PartitionId, end: Offset) {
        self.entries().get_mut(&partition).unwrap().truncate(usize::try_from(end.0).unwrap());
    }

    /// Appends a start that no sequencer has sent.
    pub(crate) fn forge_start(&self, partition: PartitionId, epoch: Epoch) {
        self.push_entry(partition, Entry::Marker(Marker::EpochStarted(epoch)));
    }

    /// Empties `counts`. It applies nothing until [`Self::resume_counts`].
    pub(crate) fn empty_counts(&self) {
        *self.counts_bound.lock() = Some(Position::default());
    }

    /// Gives the log an identity, and `counts` one of the log that it was made from.
    pub(crate) fn set_ids(&self, log: u128, counts: u128) {
        *self.log_ids.lock() = [log, counts].map(|id| Some(LogId(Uuid::from_u128(id))));
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.away.store(is_away, Ordering::SeqCst);
    }

    pub(crate) fn set_misplaces_claims(&self, does: bool) {
        self.misplaces_claims.store(does, Ordering::SeqCst);
    }

    pub(crate) fn resume_counts(&self) {
        *self.counts_bound.lock() = None;
    }

    /// From now on markers of a kind are appended but not acknowledged, until [`Self::release_markers`].
    pub(crate) fn hold_markers(&self, kind: MarkerKind) {
        self.held.send_replace(Some(kind));
    }

    pub(crate) fn release_markers(&self) {
        self.held.send_replace(None);
    }

    /// How often the checkpoints of `counts` were read. The number grows while a sequencer waits for `counts`.
    pub(crate) fn checkpoint_reads(&self) -> u64 {
        self.checkpoint_reads.load(Ordering::SeqCst)
    }

    /// Waits until a sequencer has looked at the epochs in `counts`, as each does once a second. What the others wait for is
    /// read anew by then.
    pub(crate) async fn wait_for_a_look(&self) {
        let reads = self.checkpoint_reads();
        wait_for("a look", async || (self.checkpoint_reads() > reads).then_some(())).await;
    }

    /// The epochs that were claimed, and in how many partitions each was started.
    pub(crate) fn epochs(&self) -> (Vec<Epoch>, Vec<(Epoch, usize)>) {
        let entries = self.entries();
        let claimed = entries[&PartitionId(0)].iter().enumerate();
        let claimed = claimed.filter(|(_, entry)| matches!(entry, Entry::Marker(Marker::EpochClaimed)));
        let claimed = claimed.map(|(offset, _)| Epoch(offset as u64)).collect();
        let mut started = BTreeMap::new();
        for entry in entries.values().flatten() {
            if let Entry::Marker(Marker::EpochStarted(epoch)) = entry {
                *started.entry(*epoch).or_insert(0) += 1;
            }
        }
        (claimed, started.into_iter().collect())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Vec<Entry>>> {
        self.entries.lock()
    }

    fn push_entry(&self, partition: PartitionId, entry: Entry) -> Offset {
        let mut entries = self.entries();
        let entries = entries.get_mut(&partition).unwrap();
        entries.push(entry);
        Offset(entries.len() as u64 - 1)
    }

    /// Whether the last event of a stream is void.
    pub(crate) fn is_last_event_void(&self, stream: StreamKey) -> bool {
        let entries = self.entries();
        let (mut epoch, mut is_void) = (Epoch::FIRST, None);
        for entry in &entries[&self.partitions.partition_of(&stream)] {
            match entry {
                Entry::Marker(Marker::EpochStarted(started)) => epoch = epoch.max(*started),
                Entry::Event(record) if record.stream == stream => {
                    is_void = Some(record.epoch.is_some_and(|own| own < epoch));
                }
                Entry::Marker(_) | Entry::Event(_) => {}
            }
        }
        is_void.unwrap()
    }

    /// Computes what `counts` has applied: the valid events, and its checkpoints.
    fn compute_counts(&self) -> (Vec<RecordedEvent>, Checkpoints) {
        let entries = self.entries();
        let bound = self.counts_bound.lock().clone().unwrap_or_else(|| find_end(&entries));
        let mut events = Vec::new();
        let mut checkpoints = BTreeMap::new();
        for (partition, entries) in entries.iter() {
            let mut epoch = Epoch::FIRST;
            let next = bound.bound(*partition);
            for (offset, entry) in (0..next.0).map(Offset).zip(entries) {
                match entry {
                    Entry::Marker(Marker::EpochStarted(started)) => epoch = epoch.max(*started),
                    Entry::Marker(_) => {}
                    Entry::Event(record) if record.epoch.is_some_and(|own| own < epoch) => {}
                    Entry::Event(record) => {
                        events.push(RecordedEvent { partition: *partition, offset, record: (**record).clone() });
                    }
                }
            }
            checkpoints.insert(*partition, Checkpoint { next, epoch, record: None, log: self.log_ids.lock()[1] });
        }
        (events, checkpoints)
    }
}

fn find_end(entries: &BTreeMap<PartitionId, Vec<Entry>>) -> Position {
    let mut end = Position::default();
    for (partition, entries) in entries {
        end.merge(&Position::up_to(*partition, Offset(entries.len() as u64)));
    }
    end
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let partition = self.partitions.partition_of(&record.stream);
        Ok(Position::up_to(partition, self.push_entry(partition, Entry::Event(Box::new(record))).next()))
    }

    async fn read(&self, partition: PartitionId, _: Offset, _: ReadLimit) -> Result<LogBatch, ReadError> {
        Err(ReadError::UnknownPartition(partition))
    }

    async fn end(&self) -> Result<Position, ReadError> {
        Ok(find_end(&self.entries()))
    }

    /// The sequencer's tests do not read the log.
    async fn id(&self) -> Result<Option<LogId>, ReadError> {
        Ok(self.log_ids.lock()[0])
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl MarkerLog for MemoryLog {
    fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    async fn append_marker(&self, partition: PartitionId, marker: Marker) -> Result<Offset, AppendError> {
        let offset = self.push_entry(partition, Entry::Marker(marker));
        let is_claim = marker == Marker::EpochClaimed;
        let kind = if is_claim { MarkerKind::Claims } else { MarkerKind::Starts };
        self.held.subscribe().wait_for(|held| *held != Some(kind)).await.unwrap();
        Ok(if is_claim && self.misplaces_claims.load(Ordering::SeqCst) { NOWHERE } else { offset })
    }
}

#[async_trait]
impl CountsReader for MemoryLog {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError> {
        self.checkpoint_reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.compute_counts().1)
    }

    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let (events, checkpoints) = self.compute_counts();
        let own = events.iter().filter(|recorded| recorded.record.stream.token() == token);
        let last = own.filter_map(|recorded| match (recorded.record.known_type().ok()?, recorded.record.stream) {
            (EventType::ChatApplicationCreated, _) => Some(0),
            (EventType::ChatCreated, StreamKey::Chat(chat)) => Some(chat.number.get()),
            _ => None,
        });
        Ok(CountsSnapshot { checkpoints, value: last.max() })
    }

    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError> {
        let (events, checkpoints) = self.compute_counts();
        let own: Vec<_> =
            events.into_iter().filter(|recorded| recorded.record.stream == StreamKey::Chat(chat)).collect();
        let is = |recorded: &&RecordedEvent, kind| recorded.record.known_type().is_ok_and(|own| own == kind);
        let is_created = own.iter().any(|recorded| is(&recorded, EventType::ChatCreated));
        let posted = own.iter().filter(|recorded| is(recorded, EventType::MessagePosted));
        let last = posted.filter_map(|recorded| recorded.record.number).map(events::Number::get).max();
        Ok(CountsSnapshot { checkpoints, value: is_created.then(|| last.unwrap_or(0)) })
    }

    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError> {
        let (events, checkpoints) = self.compute_counts();
        let mut own =
            events.iter().filter(|recorded| recorded.record.request.is_some_and(|request| request.key == *key));
        let value = own.next_back().map(|recorded| IdempotencyRecord {
            request: recorded.record.request.unwrap(),
            stream: recorded.record.stream,
            number: recorded.record.number,
            position: Position::up_to(recorded.partition, recorded.offset.next()),
        });
        Ok(CountsSnapshot { checkpoints, value })
    }
}
