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
use sqlx::{Row, SqlitePool};
use tokio::sync::{OnceCell, OwnedMutexGuard};

use crate::log::{PARTITION, SqliteLog};
use crate::sqlite::decode_error;

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
    readers: SqlitePool,
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
        let last = counter.last.get_or_try_init(|| self.load_counter(parent)).await?;
        let before = last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| last.checked_add(1))
            .map_err(|_| ReserveError::Exhausted)?;
        let number = Number::new(before + 1).ok_or(ReserveError::Exhausted)?;
        Ok((number, counter))
    }

    async fn load_counter(&self, parent: StreamKey) -> Result<AtomicU32, ReserveError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT last_number FROM counters WHERE parent = ?")
            .bind(parent.to_text())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        let last = last.ok_or(ReserveError::UnknownParent)?;
        let last = u32::try_from(last).map_err(|error| unavailable(sqlx::Error::Decode(error.into())))?;
        Ok(AtomicU32::new(last))
    }

    /// Locks the request's key; waits for other requests with the same key.
    async fn lock_key(&self, request: &RequestKey) -> Result<OwnedMutexGuard<()>, ReserveError> {
        let lock = self.requests.get_or_insert(request.key).lock_owned();
        tokio::time::timeout(SAME_KEY_WAIT, lock).await.map_err(|elapsed| ReserveError::Unavailable(elapsed.into()))
    }

    /// Looks up the request's event in the log; `None` if the request is new, or older than [`KEY_MEMORY`].
    async fn find_answered(&self, request: &RequestKey) -> Result<Option<AnsweredRequest>, ReserveError> {
        let row = sqlx::query(
            "SELECT log_offset, request_values, stream, number FROM requests JOIN events USING (log_offset) \
             WHERE requests.request_key = ? AND requests.occurred_at_ms > ?",
        )
        .bind(request.key.as_slice())
        .bind(expired_before_ms())
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let values: &[u8] = row.try_get(1).map_err(unavailable)?;
        if values != request.values {
            return Err(ReserveError::KeyReused);
        }
        let offset = Offset(row.try_get::<i64, _>(0).map_err(unavailable)?.cast_unsigned());
        let stream: &str = row.try_get(2).map_err(unavailable)?;
        let number: Option<u32> = row.try_get(3).map_err(unavailable)?;
        Ok(Some(AnsweredRequest {
            stream: stream.parse().map_err(|error| unavailable(decode_error(2, error)))?,
            number: number.and_then(Number::new),
            position: Position::up_to(PARTITION, offset.next()),
        }))
    }
}

fn unavailable(error: sqlx::Error) -> ReserveError {
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
        if let Some(AnsweredRequest { number: Some(number), position, .. }) = self.find_answered(request).await? {
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
        Ok(match self.find_answered(request).await? {
            Some(AnsweredRequest { stream, position, .. }) => Reservation::in_log(stream.token(), position),
            None => Reservation::new(fresh, RequestGuard(lock, None)),
        })
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        match self.counters.get_or_insert(parent).last.get_or_try_init(|| self.load_counter(parent)).await {
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
