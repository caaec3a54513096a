//! Numbers from counters in this process. A counter is filled from the log when it is first asked for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use event_log::{KEY_MEMORY, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};
use events::{ApplicationToken, Number, Offset, Position, RequestKey, StreamKey};
use sqlx::{Row, SqlitePool};
use tokio::sync::{OnceCell, OwnedMutexGuard};

use crate::log::{PARTITION, SqliteLog};
use crate::sqlite::undecodable;

/// Counters kept in memory (about 150 bytes each). When there are more, those that nobody uses are forgotten.
const MAX_COUNTERS: usize = 200_000;
/// Keys of requests kept in memory, likewise.
const MAX_REQUESTS: usize = 10_000;
/// Longest wait for another request with the same key to be answered.
const SAME_KEY_WAIT: Duration = Duration::from_secs(10);

/// [`Sequencer`] beside a [`SqliteLog`]. There must be one only over a log: its counters know of appends under way.
#[derive(Debug)]
pub struct SqliteSequencer {
    readers: SqlitePool,
    counters: Shared<StreamKey, Counter>,
    /// Held from the look-up of a key until its append is answered, so that of two requests with one key the second
    /// finds what the first has written.
    requests: Shared<[u8; RequestKey::HASH_BYTES], tokio::sync::Mutex<()>>,
}

/// The last number given; unset until the log was asked, and for a parent that does not exist.
#[derive(Debug, Default)]
struct Counter {
    last: OnceCell<AtomicU32>,
}

/// While its numbers are being written, the counter must not be forgotten.
struct Counting(#[expect(dead_code, reason = "kept, not used")] Arc<Counter>);

/// The same, for a request with a key: no other with its key is looked up meanwhile.
struct Answering(
    #[expect(dead_code, reason = "kept, not used")] Option<Arc<Counter>>,
    #[expect(dead_code, reason = "kept, not used")] OwnedMutexGuard<()>,
);

impl ReservationGuard for Counting {}

impl ReservationGuard for Answering {}

/// One value a key, the same one as long as somebody holds it. The others may be forgotten.
#[derive(Debug)]
struct Shared<K, V> {
    values: Mutex<HashMap<K, Arc<V>>>,
    max: usize,
}

impl<K: Eq + Hash, V: Default> Shared<K, V> {
    fn new(max: usize) -> Self {
        Self { values: Mutex::default(), max }
    }

    fn of(&self, key: K) -> Arc<V> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= self.max && !values.contains_key(&key) {
            values.retain(|_, value| Arc::strong_count(value) > 1);
        }
        Arc::clone(values.entry(key).or_default())
    }
}

/// What the log has of a request.
struct Answered {
    stream: StreamKey,
    number: Option<Number>,
    position: Position,
}

impl SqliteSequencer {
    /// The sequencer of `log`.
    pub fn new(log: &SqliteLog) -> Self {
        Self { readers: log.readers(), counters: Shared::new(MAX_COUNTERS), requests: Shared::new(MAX_REQUESTS) }
    }

    async fn next(&self, parent: StreamKey) -> Result<(Number, Arc<Counter>), ReserveError> {
        let counter = self.counters.of(parent);
        let last = counter.last.get_or_try_init(|| self.fill(parent)).await?;
        let before = last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| last.checked_add(1))
            .map_err(|_| ReserveError::Exhausted)?;
        let number = Number::new(before + 1).ok_or(ReserveError::Exhausted)?;
        Ok((number, counter))
    }

    async fn fill(&self, parent: StreamKey) -> Result<AtomicU32, ReserveError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT last_number FROM counters WHERE parent = ?")
            .bind(parent.to_text())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        let last = last.ok_or(ReserveError::UnknownParent)?;
        let last = u32::try_from(last).map_err(|error| unavailable(sqlx::Error::Decode(error.into())))?;
        Ok(AtomicU32::new(last))
    }

    /// Waits for its turn among the requests with its key.
    async fn turn(&self, request: &RequestKey) -> Result<OwnedMutexGuard<()>, ReserveError> {
        let turn = self.requests.of(request.key).lock_owned();
        tokio::time::timeout(SAME_KEY_WAIT, turn).await.map_err(|elapsed| ReserveError::Unavailable(elapsed.into()))
    }

    /// What the log has of the request; `None` if it has nothing or has forgotten it.
    async fn answered(&self, request: &RequestKey) -> Result<Option<Answered>, ReserveError> {
        let row = sqlx::query(
            "SELECT log_offset, request_values, stream, number FROM requests JOIN events USING (log_offset) \
             WHERE requests.request_key = ? AND requests.occurred_at_ms > ?",
        )
        .bind(request.key.as_slice())
        .bind(forgotten_before_ms())
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
        Ok(Some(Answered {
            stream: stream.parse().map_err(|error| unavailable(undecodable(2, error)))?,
            number: number.and_then(Number::new),
            position: Position::up_to(PARTITION, offset.next()),
        }))
    }
}

fn unavailable(error: sqlx::Error) -> ReserveError {
    ReserveError::Unavailable(error.into())
}

fn forgotten_before_ms() -> i64 {
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
            let (number, counter) = self.next(parent).await?;
            return Ok(Reservation::new(number, Counting(counter)));
        };
        let turn = self.turn(request).await?;
        if let Some(Answered { number: Some(number), position, .. }) = self.answered(request).await? {
            return Ok(Reservation::in_log(number, position));
        }
        let (number, counter) = self.next(parent).await?;
        Ok(Reservation::new(number, Answering(Some(counter), turn)))
    }

    async fn reserve_token(
        &self,
        fresh: ApplicationToken,
        request: Option<&RequestKey>,
    ) -> Result<Reservation<ApplicationToken>, ReserveError> {
        let Some(request) = request else {
            return Ok(Reservation::new(fresh, ()));
        };
        let turn = self.turn(request).await?;
        Ok(match self.answered(request).await? {
            Some(Answered { stream, position, .. }) => Reservation::in_log(stream.token(), position),
            None => Reservation::new(fresh, Answering(None, turn)),
        })
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        match self.counters.of(parent).last.get_or_try_init(|| self.fill(parent)).await {
            Ok(_) => Ok(true),
            Err(ReserveError::UnknownParent) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Nothing to do: the append that created the parent has written its counter.
    async fn open(&self, _parent: StreamKey, _ticket: Option<Ticket>) -> Result<(), ReserveError> {
        Ok(())
    }
}
