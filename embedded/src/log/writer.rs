//! The only writer of the log. It commits all queued appends as a group, so that one fsync serves many appends.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_log::{AppendError, KEY_MEMORY};
use events::{EventType, Offset, Record, StreamKey};
use parking_lot::Mutex;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::sqlite::{Writer, insert_rows};

/// Bound on the queue of appends. A further append is refused.
const MAX_QUEUED: usize = 4_096;
/// The most appends of one transaction.
const MAX_GROUP: usize = 512;

/// The outcome of an append.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The record has this offset.
    Committed(Offset),
    /// The transaction failed. If its commit failed, the record may be in the log.
    Failed(Arc<sqlx::Error>),
}

struct QueuedAppend {
    record: Record,
    outcome: oneshot::Sender<Outcome>,
}

/// The queue to the writer.
#[derive(Debug)]
pub(super) struct GroupCommit {
    queue: Mutex<Option<mpsc::Sender<QueuedAppend>>>,
    writer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl GroupCommit {
    /// Starts the writer. It publishes the log's end in `end` after every commit.
    pub(super) fn start(options: SqliteConnectOptions, end: watch::Sender<Offset>) -> Self {
        let (queue, appends) = mpsc::channel(MAX_QUEUED);
        let writer = tokio::spawn(write_groups(Writer::new(options), appends, end));
        Self { queue: Mutex::new(Some(queue)), writer: tokio::sync::Mutex::new(Some(writer)) }
    }

    /// Queues an append.
    pub(super) fn append(&self, record: Record) -> Result<oneshot::Receiver<Outcome>, AppendError> {
        let (outcome, answer) = oneshot::channel();
        let queue = self.queue.lock();
        let queue = queue.as_ref().ok_or(AppendError::Closed)?;
        queue.try_send(QueuedAppend { record, outcome }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
        })?;
        Ok(answer)
    }

    /// Refuses further appends and waits until the queued ones are committed.
    pub(super) async fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer of the log stopped early");
        }
    }
}

async fn write_groups(writer: Writer, mut appends: mpsc::Receiver<QueuedAppend>, end: watch::Sender<Offset>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while appends.recv_many(&mut group, MAX_GROUP).await > 0 {
        let (records, outcomes): (Vec<_>, Vec<_>) =
            group.drain(..).map(|append| (append.record, append.outcome)).unzip();
        match commit(&writer, &records).await {
            Ok(first) => {
                end.send_replace(Offset(first.0 + records.len() as u64));
                send_outcomes(outcomes, (first.0..).map(Offset).map(Outcome::Committed));
            }
            Err(error) => {
                let error = Arc::new(error);
                tracing::error!(%error, appends = records.len(), "the event log could not be written");
                send_outcomes(outcomes, std::iter::repeat_with(|| Outcome::Failed(Arc::clone(&error))));
            }
        }
    }
    if let Err(error) = writer.close().await {
        tracing::warn!(%error, "the event log was not closed cleanly; nothing is lost");
    }
}

fn send_outcomes(senders: Vec<oneshot::Sender<Outcome>>, outcomes: impl Iterator<Item = Outcome>) {
    for (sender, outcome) in senders.into_iter().zip(outcomes) {
        // The caller may have stopped waiting; its record is in the log nevertheless.
        drop(sender.send(outcome));
    }
}

/// Commits the records at the end of the log; returns the offset of the first.
async fn commit(writer: &Writer, records: &[Record]) -> Result<Offset, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let connection = transaction.connection();
    // Read every time: after a commit with an unknown outcome only the table says where the log ends.
    let first: i64 =
        sqlx::query_scalar("SELECT coalesce(max(log_offset) + 1, 0) FROM events").fetch_one(&mut *connection).await?;
    insert_events(connection, first, records).await?;
    raise_counters(connection, records).await?;
    store_requests(connection, first, records).await?;
    transaction.commit().await?;
    Ok(Offset(first.cast_unsigned()))
}

async fn insert_events(connection: &mut SqliteConnection, first: i64, records: &[Record]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = (first..).zip(records).collect();
    insert_rows(
        connection,
        "INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, number, \
         request_key, request_values, epoch, traceparent, data) ",
        "",
        &rows,
        |row, (offset, record)| {
            row.push_bind(offset)
                .push_bind(record.event_id.0.as_bytes().as_slice())
                .push_bind(&record.event_type)
                .push_bind(i64::from(record.version))
                .push_bind(record.occurred_at.0.cast_signed())
                .push_bind(record.stream.to_text())
                .push_bind(record.number.map(|number| i64::from(number.get())))
                .push_bind(record.request.map(|request| request.key.to_vec()))
                .push_bind(record.request.map(|request| request.values.to_vec()))
                .push_bind(record.epoch.map(|epoch| epoch.0.cast_signed()))
                .push_bind(record.trace.map(|trace| trace.to_string()))
                .push_bind(record.data.as_slice());
        },
    )
    .await?;
    Ok(())
}

/// Stores the offsets of requests with keys. Deletes up to twice as many expired ones, so that the table shrinks faster
/// than it grows.
async fn store_requests(connection: &mut SqliteConnection, first: i64, records: &[Record]) -> Result<(), sqlx::Error> {
    let requests: Vec<_> = (first..)
        .zip(records)
        .filter_map(|(offset, record)| Some((offset, record.request?, record.occurred_at)))
        .collect();
    let Some(now_ms) = requests.iter().map(|(_, _, occurred_at)| occurred_at.0).max() else {
        return Ok(());
    };
    insert_rows(
        connection,
        "INSERT INTO requests (request_key, log_offset, occurred_at_ms) ",
        " ON CONFLICT (request_key) DO UPDATE SET log_offset = excluded.log_offset, \
         occurred_at_ms = excluded.occurred_at_ms",
        &requests,
        |row, (offset, request, occurred_at)| {
            row.push_bind(request.key.as_slice()).push_bind(offset).push_bind(occurred_at.0.cast_signed());
        },
    )
    .await?;
    let key_memory_ms = u64::try_from(KEY_MEMORY.as_millis()).unwrap_or(u64::MAX);
    sqlx::query(
        "DELETE FROM requests WHERE request_key IN \
         (SELECT request_key FROM requests WHERE occurred_at_ms < ? ORDER BY occurred_at_ms LIMIT ?)",
    )
    .bind(now_ms.saturating_sub(key_memory_ms).cast_signed())
    .bind(2 * requests.len() as i64)
    .execute(connection)
    .await?;
    Ok(())
}

async fn raise_counters(connection: &mut SqliteConnection, records: &[Record]) -> Result<(), sqlx::Error> {
    let mut counters = BTreeMap::new();
    for (parent, last_number) in records.iter().flat_map(list_counters) {
        let counter = counters.entry(parent).or_insert(last_number);
        *counter = last_number.max(*counter);
    }
    let counters: Vec<_> = counters.into_iter().collect();
    insert_rows(
        connection,
        "INSERT INTO counters (parent, last_number) ",
        " ON CONFLICT (parent) DO UPDATE SET last_number = max(last_number, excluded.last_number)",
        &counters,
        |row, (parent, last_number)| {
            row.push_bind(parent.to_text()).push_bind(i64::from(*last_number));
        },
    )
    .await?;
    Ok(())
}

/// Lists the counters that a record creates or raises. Reads the record's headers only, because even a broken event has
/// used its number.
fn list_counters(record: &Record) -> impl Iterator<Item = (StreamKey, u32)> {
    let used = record.number.map_or(0, events::Number::get);
    let (raised, opened) = match (EventType::from_wire_name(&record.event_type), record.stream) {
        (Some(EventType::ChatApplicationCreated), application) => (None, Some(application)),
        (Some(EventType::ChatCreated), StreamKey::Chat(chat)) => (Some(chat.token.into()), Some(record.stream)),
        (Some(EventType::MessagePosted), chat) => (Some(chat), None),
        (Some(EventType::ChatCreated | EventType::ChatApplicationRenamed) | None, _) => (None, None),
    };
    let raised = raised.map(|parent| (parent, used));
    raised.into_iter().chain(opened.map(|parent| (parent, 0)))
}
