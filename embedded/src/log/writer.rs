//! The only writer of the log. It commits all queued appends as a group, so that one fsync serves many appends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use event_log::AppendError;
use events::{Offset, Record};
use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tokio::sync::{mpsc, oneshot, watch};

use super::checksum::checksum;
use super::counters::{Counters, NumberTaken};
use super::rows::COLUMNS;
use super::{read_end, requests};
use crate::sqlite::{Writer, prepare};

/// Bound on the queue of appends. A further append is refused.
const MAX_QUEUED: usize = 4_096;
/// The most appends of one transaction.
const MAX_GROUP: usize = 512;
/// Pause before each test of a log that could not be written, because the disk is full, say.
const TEST_PAUSE: Duration = Duration::from_millis(500);

/// The outcome of an append.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The record has this offset.
    Committed(Offset),
    /// The record is not in the log.
    Refused(NumberTaken),
    /// The transaction failed. If its commit failed, the record may be in the log.
    Failed(Arc<rusqlite::Error>),
}

struct QueuedAppend {
    record: Record,
    outcome: oneshot::Sender<Outcome>,
}

/// The queue to the writer.
#[derive(Debug)]
pub(super) struct GroupCommit {
    queue: Mutex<Option<mpsc::Sender<QueuedAppend>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    is_away: Arc<AtomicBool>,
}

impl GroupCommit {
    /// Starts the writer on a thread of its own. It publishes the log's end in `end` after every commit.
    pub(super) fn start(writer: Writer, end: Arc<watch::Sender<Offset>>) -> io::Result<Self> {
        let (queue, appends) = mpsc::channel(MAX_QUEUED);
        let is_away = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&is_away);
        let writer = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || write_groups(writer, appends, &end, &shared))?;
        Ok(Self { queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)), is_away })
    }

    /// Whether the last attempt to write the log has failed.
    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
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
        let writer = self.writer.lock().take();
        let joined = tokio::task::spawn_blocking(|| writer.map(JoinHandle::join)).await;
        if !matches!(joined, Ok(None | Some(Ok(())))) {
            tracing::error!("the writer of the log stopped early");
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns them")]
fn write_groups(
    writer: Writer,
    mut appends: mpsc::Receiver<QueuedAppend>,
    end: &watch::Sender<Offset>,
    is_away: &AtomicBool,
) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while appends.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        let (records, outcomes): (Vec<_>, Vec<_>) =
            group.drain(..).map(|append| (append.record, append.outcome)).unzip();
        match writer.transact(|connection| append_group(connection, &records).map(Some)) {
            Ok(Some(Appended { end: new_end, answers })) => {
                end.send_replace(new_end);
                send_outcomes(
                    outcomes,
                    answers.into_iter().map(|answer| answer.map_or_else(Outcome::Refused, Outcome::Committed)),
                );
            }
            Ok(None) => {}
            Err(error) => {
                let error = Arc::new(error);
                tracing::error!(%error, appends = records.len(), "the event log could not be written");
                is_away.store(true, Ordering::Relaxed);
                send_outcomes(outcomes, std::iter::repeat_with(|| Outcome::Failed(Arc::clone(&error))));
                wait_until_writable(&writer, &appends);
                is_away.store(false, Ordering::Relaxed);
            }
        }
    }
    if let Err(error) = writer.close() {
        tracing::warn!(%error, "the event log was not closed cleanly; nothing is lost");
    }
}

/// Tests the log until it can be written, or until no append can come any more.
fn wait_until_writable(writer: &Writer, appends: &mpsc::Receiver<QueuedAppend>) {
    while !appends.is_closed() {
        thread::sleep(TEST_PAUSE);
        // It changes nothing, but takes the lock and writes a page, as an append does.
        let write = |connection: &mut Connection| {
            prepare(connection, "UPDATE identity SET log_id = log_id WHERE rowid = 1")?.execute(()).map(Some)
        };
        match writer.transact(write) {
            Ok(_) => {
                tracing::info!("the event log can be written again");
                return;
            }
            Err(error) => tracing::warn!(%error, "the event log still cannot be written"),
        }
    }
}

fn send_outcomes(senders: Vec<oneshot::Sender<Outcome>>, outcomes: impl Iterator<Item = Outcome>) {
    for (sender, outcome) in senders.into_iter().zip(outcomes) {
        // The caller may have stopped waiting; the outcome stands nevertheless.
        drop(sender.send(outcome));
    }
}

/// A group that was appended.
struct Appended {
    /// The offset of each record, or why the record was left out.
    answers: Vec<Result<Offset, NumberTaken>>,
    end: Offset,
}

/// Appends the records, but for those whose number is taken.
fn append_group(connection: &Connection, records: &[Record]) -> rusqlite::Result<Appended> {
    // Read every time: after a commit with an unknown outcome only the table says where the log ends.
    let mut end = read_end(connection)?;
    let mut counters = Counters::new(connection);
    let mut answers = Vec::with_capacity(records.len());
    let mut appended = Vec::with_capacity(records.len());
    for record in records {
        let raised = counters.raise(record)?;
        if let Err(NumberTaken { number, last }) = raised {
            tracing::error!(
                number,
                last,
                "an append was refused, because its number is taken; the next number is above the last one; run tally verify"
            );
        } else {
            appended.push((end, record));
        }
        answers.push(raised.map(|()| end));
        end = Offset(end.0 + u64::from(raised.is_ok()));
    }
    insert_events(connection, &appended)?;
    counters.store()?;
    requests::store(connection, &appended)?;
    Ok(Appended { answers, end })
}

/// Inserts records at their offsets.
pub(super) fn insert_events(connection: &Connection, records: &[(Offset, &Record)]) -> rusqlite::Result<()> {
    let mut statement = prepare(
        connection,
        "INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, number, \
         request_key, request_values, epoch, traceparent, data, checksum) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (offset, record) in records {
        let stream = record.stream.to_text();
        let trace = record.trace.map(|trace| trace.to_string());
        let columns: [ValueRef; COLUMNS] = [
            ValueRef::Integer(offset.0.cast_signed()),
            ValueRef::Blob(record.event_id.0.as_bytes()),
            ValueRef::Text(record.event_type.as_bytes()),
            ValueRef::Integer(record.version.into()),
            ValueRef::Integer(record.occurred_at.0.cast_signed()),
            ValueRef::Text(stream.as_bytes()),
            record.number.map_or(ValueRef::Null, |number| ValueRef::Integer(number.get().into())),
            record.request.as_ref().map_or(ValueRef::Null, |request| ValueRef::Blob(&request.key)),
            record.request.as_ref().map_or(ValueRef::Null, |request| ValueRef::Blob(&request.values)),
            record.epoch.map_or(ValueRef::Null, |epoch| ValueRef::Integer(epoch.0.cast_signed())),
            trace.as_ref().map_or(ValueRef::Null, |trace| ValueRef::Text(trace.as_bytes())),
            ValueRef::Blob(&record.data),
        ];
        let checksum = ValueRef::Integer(checksum(columns).into());
        statement.execute(params_from_iter(columns.into_iter().chain([checksum]).map(ToSqlOutput::Borrowed)))?;
    }
    Ok(())
}
