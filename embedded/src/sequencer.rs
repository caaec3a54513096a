//! Numbers from counters in this process. A counter is filled from the log when it is first asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use event_log::{Reservation, ReserveError, Sequencer};
use events::{Number, StreamKey};
use sqlx::SqlitePool;
use tokio::sync::OnceCell;

use crate::log::SqliteLog;

/// Counters kept in memory (about 150 bytes each). When there are more, those that nobody uses are forgotten.
const MAX_COUNTERS: usize = 200_000;

/// [`Sequencer`] beside a [`SqliteLog`]. There must be one only over a log: its counters know of appends under way.
#[derive(Debug)]
pub struct SqliteSequencer {
    readers: SqlitePool,
    counters: Mutex<HashMap<StreamKey, Arc<Counter>>>,
}

/// The last number given; unset until the log was asked, and for a parent that does not exist.
#[derive(Debug, Default)]
struct Counter {
    last: OnceCell<AtomicU32>,
}

impl SqliteSequencer {
    /// The sequencer of `log`.
    pub fn new(log: &SqliteLog) -> Self {
        Self { readers: log.readers(), counters: Mutex::default() }
    }

    /// The counter of `parent`, which stays the same one as long as somebody holds it.
    fn counter(&self, parent: StreamKey) -> Arc<Counter> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_COUNTERS && !counters.contains_key(&parent) {
            // A counter that is held may be ahead of the log; any other can be filled again.
            counters.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        Arc::clone(counters.entry(parent).or_default())
    }

    async fn fill(&self, parent: StreamKey) -> Result<AtomicU32, ReserveError> {
        let unavailable = |error: sqlx::Error| ReserveError::Unavailable(error.into());
        let last: Option<i64> = sqlx::query_scalar("SELECT last_number FROM counters WHERE parent = ?")
            .bind(parent.to_text())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        let last = last.ok_or(ReserveError::UnknownParent)?;
        let last = u32::try_from(last).map_err(|error| unavailable(sqlx::Error::Decode(error.into())))?;
        Ok(AtomicU32::new(last))
    }
}

#[async_trait]
impl Sequencer for SqliteSequencer {
    async fn reserve(&self, parent: StreamKey) -> Result<Reservation, ReserveError> {
        let counter = self.counter(parent);
        let last = counter.last.get_or_try_init(|| self.fill(parent)).await?;
        let before = last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| last.checked_add(1))
            .map_err(|_| ReserveError::Exhausted)?;
        let number = Number::new(before + 1).ok_or(ReserveError::Exhausted)?;
        Ok(Reservation::new(number, counter))
    }

    async fn exists(&self, parent: StreamKey) -> Result<bool, ReserveError> {
        match self.counter(parent).last.get_or_try_init(|| self.fill(parent)).await {
            Ok(_) => Ok(true),
            Err(ReserveError::UnknownParent) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Nothing to do: the append that created the parent has written its counter.
    async fn open(&self, _parent: StreamKey) -> Result<(), ReserveError> {
        Ok(())
    }
}
