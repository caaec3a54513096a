//! Reserves numbers from counters in this process. A counter starts from the log when it is first used.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use event_log::{KEY_MEMORY, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, Number, Offset, Position, RequestKey, StreamKey};
use parking_lot::Mutex;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row};
use tokio::sync::{OnceCell, OwnedMutexGuard};

use crate::log::{PARTITION, SqliteLog};
use crate::sqlite::{Readers, decode_error, prepare};

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
    counters: SharedMap<StreamKey, Counter>,
    /// A request with a key holds its lock from the look-up of the key until its append is answered. So a second
    /// request with the key finds the event of the first.
    requests: SharedMap<[u8; RequestKey::HASH_BYTES], tokio::sync::Mutex<()>>,
}

/// The last reserved number of a parent. Unset until it is read from the log, and for a parent that does not exist.
#[derive(Debug, Default)]
struct Counter {
    last: OnceCell<AtomicU32>,
}

/// Keeps the counter in memory until the reserved number is appended.
struct CounterGuard(#[expect(dead_code, reason = "kept, not used")] Arc<Counter>);

/// Keeps the lock of a request's key, and the counter if the request has one, until the event is appended.
struct RequestGuard(
    #[expect(dead_code, reason = "kept, not used")] OwnedMutexGuard<()>,
    #[expect(dead_code, reason = "kept, not used")] Option<Arc<Counter>>,
);

impl ReservationGuard for CounterGuard {}

impl ReservationGuard for RequestGuard {}

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
        Self { readers: log.readers(), counters: SharedMap::new(MAX_COUNTERS), requests: SharedMap::new(MAX_REQUESTS) }
    }

    async fn reserve_next(&self, parent: StreamKey) -> Result<(Number, Arc<Counter>), ReserveError> {
        let counter = self.counters.get_or_insert(parent);
        let last = counter.last.get_or_try_init(async || self.load_counter(parent)).await?;
        let before = last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| last.checked_add(1))
            .map_err(|_| ReserveError::Exhausted)?;
        let number = Number::new(before + 1).ok_or(ReserveError::Exhausted)?;
        Ok((number, counter))
    }

    /// Reads the counter on this thread: one row by its key.
    fn load_counter(&self, parent: StreamKey) -> Result<AtomicU32, ReserveError> {
        let last = self.readers.read(|connection| {
            prepare(connection, "SELECT last_number FROM counters WHERE parent = ?")?
                .query_row([parent.to_text()], |row| row.get(0))
                .optional()
        });
        last.map_err(unavailable)?.map(AtomicU32::new).ok_or(ReserveError::UnknownParent)
    }

    /// Locks the request's key; waits for other requests with the same key.
    async fn lock_key(&self, request: &RequestKey) -> Result<OwnedMutexGuard<()>, ReserveError> {
        let lock = self.requests.get_or_insert(request.key).lock_owned();
        tokio::time::timeout(SAME_KEY_WAIT, lock).await.map_err(|elapsed| ReserveError::Unavailable(elapsed.into()))
    }

    /// Looks up the request's event in the log; `None` if the request is new, or older than [`KEY_MEMORY`]. Reads on this
    /// thread: one row by its key.
    fn find_answered(&self, request: &RequestKey) -> Result<Option<AnsweredRequest>, ReserveError> {
        let found = self.readers.read(|connection| {
            let mut statement = prepare(
                connection,
                "SELECT log_offset, request_values, stream, number FROM requests JOIN events USING (log_offset) \
                 WHERE requests.request_key = ? AND requests.occurred_at_ms > ?",
            )?;
            let answered = |row: &Row| Ok((row.get(1)?, decode_answered(row)?));
            statement.query_row((request.key, expired_before_ms()), answered).optional()
        });
        let Some((values, answered)): Option<([u8; RequestKey::HASH_BYTES], _)> = found.map_err(unavailable)? else {
            return Ok(None);
        };
        if request.values == values { Ok(Some(answered)) } else { Err(ReserveError::KeyReused) }
    }
}

fn decode_answered(row: &Row) -> rusqlite::Result<AnsweredRequest> {
    let offset = Offset(row.get::<_, i64>(0)?.cast_unsigned());
    Ok(AnsweredRequest {
        stream: row.get_ref(2)?.as_str()?.parse().map_err(|error| decode_error(2, Type::Text, error))?,
        number: row.get::<_, Option<u32>>(3)?.and_then(Number::new),
        position: Position::up_to(PARTITION, offset.next()),
    })
}

fn unavailable(error: rusqlite::Error) -> ReserveError {
    ReserveError::Unavailable(error.into())
}

fn expired_before_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(KEY_MEMORY).as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Sequencer for SqliteSequencer {
    async fn reserve(
        &self,
        parent: StreamKey,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<Number>, ReserveError> {
        let Some(request) = request else {
            let (number, counter) = self.reserve_next(parent).await?;
            return Ok(Reservation::new(number, CounterGuard(counter)));
        };
        let lock = self.lock_key(request).await?;
        if let Some(AnsweredRequest { number: Some(number), position, .. }) = self.find_answered(request)? {
            return Ok(Reservation::in_log(number, position));
        }
        let (number, counter) = self.reserve_next(parent).await?;
        Ok(Reservation::new(number, RequestGuard(lock, Some(counter))))
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
            None => Reservation::new(fresh, RequestGuard(lock, None)),
        })
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        match self.counters.get_or_insert(parent).last.get_or_try_init(async || self.load_counter(parent)).await {
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
