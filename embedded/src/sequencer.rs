//! Reserves numbers from counters in this process. A counter starts from the log when it is first used.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_log::{Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, Number, Offset, Position, RequestKey, StreamKey};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::log::{Damaged, PARTITION, SqliteLog, load_counter, read_record, requests};
use crate::sqlite::Readers;

/// Counters in memory, about 150 bytes each. Beyond this number, unused counters are dropped.
const MAX_COUNTERS: usize = 200_000;
/// Keys of requests in memory. Beyond this number, unused keys are dropped.
const MAX_REQUESTS: usize = 10_000;
/// Longest wait for another request with the same key.
const SAME_KEY_WAIT: Duration = Duration::from_secs(10);

/// [`Sequencer`] beside a [`SqliteLog`]. A log must have only one, because its counters include appends that are not committed
/// yet.
#[derive(Debug)]
pub struct SqliteSequencer {
    readers: Arc<Readers>,
    /// See [`SqliteLog::refusals`].
    refusals: Arc<AtomicU64>,
    counters: SharedMap<StreamKey, Counter>,
    /// A request with a key holds its lock from the look-up of the key until its append is answered. So a second
    /// request with the key finds the event of the first.
    requests: SharedMap<[u8; RequestKey::HASH_BYTES], tokio::sync::Mutex<()>>,
}

/// The last reserved number of a parent. `None` until it is read from the log, and for a parent that does not exist.
type Counter = tokio::sync::Mutex<Option<LastNumber>>;

#[derive(Debug, Clone, Copy)]
struct LastNumber {
    number: u32,
    /// How many appends the log had refused when it was read.
    refusals: u64,
}

/// Guards a reserved number.
struct NumberGuard {
    /// Locks the counter until the record is queued, so that the records of a parent are queued in the order of their
    /// numbers.
    turn: Mutex<Option<OwnedMutexGuard<Option<LastNumber>>>>,
    /// Keeps the counter in memory until the record is appended.
    _counter: Arc<Counter>,
    /// Locks the key of the request, if it has one, until the record is appended.
    _key: Option<OwnedMutexGuard<()>>,
}

impl ReservationGuard for NumberGuard {
    fn record_is_queued(&self) {
        drop(self.turn.lock().take());
    }
}

/// Locks the key of a request for a token until the record is appended.
struct KeyGuard(#[expect(dead_code, reason = "kept, not used")] OwnedMutexGuard<()>);

impl ReservationGuard for KeyGuard {}

/// One shared value for each key. Beyond `max` keys, values that nobody holds are dropped.
#[derive(Debug)]
struct SharedMap<K, V> {
    values: Mutex<HashMap<K, Arc<V>>>,
    max: usize,
}

impl<K: Eq + Hash, V: Default> SharedMap<K, V> {
    fn new(max: usize) -> Self {
        Self { values: Mutex::default(), max }
    }

    fn get_or_insert(&self, key: K) -> Arc<V> {
        let mut values = self.values.lock();
        if values.len() >= self.max && !values.contains_key(&key) {
            values.retain(|_, value| Arc::strong_count(value) > 1);
        }
        Arc::clone(values.entry(key).or_default())
    }
}

/// The event that the log holds for a request.
struct AnsweredRequest {
    stream: StreamKey,
    number: Option<Number>,
    position: Position,
}

impl SqliteSequencer {
    /// Makes the sequencer of `log`.
    pub fn new(log: &SqliteLog) -> Self {
        Self {
            readers: log.readers(),
            refusals: log.refusals(),
            counters: SharedMap::new(MAX_COUNTERS),
            requests: SharedMap::new(MAX_REQUESTS),
        }
    }

    async fn reserve_next(
        &self,
        parent: StreamKey,
        key: Option<OwnedMutexGuard<()>>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let counter = self.counters.get_or_insert(parent);
        let mut turn = Arc::clone(&counter).lock_owned().await;
        let last = self.last_number(parent, &mut turn)?;
        let number = last.number.checked_add(1).and_then(Number::new).ok_or(ReserveError::Exhausted)?;
        *turn = Some(LastNumber { number: number.get(), ..last });
        Ok(Reservation::new(number, NumberGuard { turn: Mutex::new(Some(turn)), _counter: counter, _key: key }))
    }

    /// Returns the last reserved number of a parent. Reads it from the log on this thread if `counter` has none, or if the
    /// log has refused a number since: one row by its key. The log may lack numbers that were reserved just now, so the
    /// higher number counts.
    fn last_number(&self, parent: StreamKey, counter: &mut Option<LastNumber>) -> Result<LastNumber, ReserveError> {
        let refusals = self.refusals.load(Ordering::Acquire);
        if let Some(last) = *counter
            && last.refusals == refusals
        {
            return Ok(last);
        }
        let stored = self.readers.read(|connection| load_counter(connection, parent));
        let stored = stored.map_err(unavailable)?.ok_or(ReserveError::UnknownParent)?;
        let reserved = counter.map_or(0, |last| last.number);
        Ok(*counter.insert(LastNumber { number: stored.max(reserved), refusals }))
    }

    /// Locks the request's key; waits for other requests with the same key.
    async fn lock_key(&self, request: &RequestKey) -> Result<OwnedMutexGuard<()>, ReserveError> {
        let lock = self.requests.get_or_insert(request.key).lock_owned();
        tokio::time::timeout(SAME_KEY_WAIT, lock).await.map_err(|elapsed| ReserveError::Unavailable(elapsed.into()))
    }

    /// Looks up the request's event in the log; `None` if the request is new or forgotten. Reads on this thread: two
    /// rows by their keys.
    fn find_answered(&self, request: &RequestKey) -> Result<Option<AnsweredRequest>, ReserveError> {
        let found = self.readers.read(|connection| {
            let Some(offset) = requests::find(connection, request.key)? else {
                return Ok(None);
            };
            Ok(Some((offset, read_record(connection, offset)?)))
        });
        let (offset, record) = match found.map_err(unavailable)? {
            None => return Ok(None),
            Some(found) => found,
        };
        let record = record.map_err(|source| ReserveError::Unavailable(DamagedAnswer { offset, source }.into()))?;
        if record.request.is_none_or(|stored| stored.values != request.values) {
            return Err(ReserveError::KeyReused);
        }
        let position = Position::up_to(PARTITION, offset.next());
        Ok(Some(AnsweredRequest { stream: record.stream, number: record.number, position }))
    }
}

/// The record that answers a request is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the event of this request, at offset {offset} of the log, cannot be read; run tally verify")]
struct DamagedAnswer {
    offset: Offset,
    source: Damaged,
}

fn unavailable(error: rusqlite::Error) -> ReserveError {
    ReserveError::Unavailable(error.into())
}

#[async_trait]
impl Sequencer for SqliteSequencer {
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let Some(request) = request else {
            return self.reserve_next(parent, None).await;
        };
        let lock = self.lock_key(request).await?;
        if let Some(AnsweredRequest { number: Some(number), position, .. }) = self.find_answered(request)? {
            return Ok(Reservation::in_log(number, position));
        }
        self.reserve_next(parent, Some(lock)).await
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        let Some(request) = request else {
            return Ok(Reservation::new(fresh, ()));
        };
        let lock = self.lock_key(request).await?;
        Ok(match self.find_answered(request)? {
            Some(AnsweredRequest { stream, position, .. }) => Reservation::in_log(stream.token(), position),
            None => Reservation::new(fresh, KeyGuard(lock)),
        })
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        let counter = self.counters.get_or_insert(parent);
        match self.last_number(parent, &mut *counter.lock().await) {
            Ok(_) => Ok(true),
            Err(ReserveError::UnknownParent) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Does nothing: the append that created the parent has written its counter.
    async fn open(&self, _parent: StreamKey, _ticket: Option<Ticket>) -> Result<(), ReserveError> {
        Ok(())
    }
}
