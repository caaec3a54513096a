//! The only writer of the log. It commits all queued appends as a group, so that one fsync serves many appends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use event_log::AppendError;
use events::{Offset, Record};
use metrics::{Gauge, Histogram, Unit};
use parking_lot::Mutex;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement, params_from_iter};
use tokio::sync::{mpsc, oneshot, watch};

use super::checksum::checksum;
use super::counters::{Counters, NumberTaken};
use super::markers::NewMarker;
use super::rows::COLUMNS;
use super::{markers, read_end, requests};
use crate::sqlite::{Writer, prepare};

/// Bound on the queue of appends. A further append is refused.
const MAX_QUEUED: usize = 4_096;
/// The most appends of one transaction.
const MAX_GROUP: usize = 512;
const GROUP_SIZE: &str = "tally_log_group_size";
const WAITING_APPENDS: &str = "tally_log_waiting_appends";
const COMMIT_SECONDS: &str = "tally_log_commit_seconds";
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

/// What is appended.
#[derive(Debug)]
pub(super) enum Entry {
    Event(Record),
    Marker(NewMarker),
}

impl Entry {
    const fn event(&self) -> Option<&Record> {
        match self {
            Self::Event(record) => Some(record),
            Self::Marker(_) => None,
        }
    }
}

struct QueuedAppend {
    entry: Entry,
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
        metrics::describe_histogram!(
            COMMIT_SECONDS,
            Unit::Seconds,
            "Time of a commit to the log, with the sync of the disk."
        );
        let writer = writer.recording_commits(metrics::histogram!(COMMIT_SECONDS));
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
    pub(super) fn append(&self, entry: Entry) -> Result<oneshot::Receiver<Outcome>, AppendError> {
        let (outcome, answer) = oneshot::channel();
        let queue = self.queue.lock();
        let queue = queue.as_ref().ok_or(AppendError::Closed)?;
        queue.try_send(QueuedAppend { entry, outcome }).map_err(|error| match error {
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

/// What the writer measures.
struct WriterMetrics {
    /// Appends of a transaction.
    group_size: Histogram,
    /// Appends that wait while a transaction is written.
    waiting: Gauge,
}

impl WriterMetrics {
    fn new() -> Self {
        metrics::describe_histogram!(GROUP_SIZE, "Appends to the log that share one commit.");
        metrics::describe_gauge!(WAITING_APPENDS, "Appends that wait for the log's next commit.");
        Self { group_size: metrics::histogram!(GROUP_SIZE), waiting: metrics::gauge!(WAITING_APPENDS) }
    }

    fn record(&self, group_size: usize, waiting: usize) {
        self.group_size.record(group_size as f64);
        self.waiting.set(waiting as f64);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns them")]
fn write_groups(
    writer: Writer,
    mut appends: mpsc::Receiver<QueuedAppend>,
    end: &watch::Sender<Offset>,
    is_away: &AtomicBool,
) {
    let metrics = WriterMetrics::new();
    let mut group = Vec::with_capacity(MAX_GROUP);
    while appends.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        metrics.record(group.len(), appends.len());
        let (entries, outcomes): (Vec<_>, Vec<_>) =
            group.drain(..).map(|append| (append.entry, append.outcome)).unzip();
        match writer.transact(|connection| append_group(connection, &entries).map(Some)) {
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
                tracing::error!(%error, appends = entries.len(), "the event log could not be written");
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

/// Appends the entries, but for events whose number is taken.
fn append_group(connection: &Connection, entries: &[Entry]) -> rusqlite::Result<Appended> {
    // Read every time: after a commit with an unknown outcome only the table says where the log ends.
    let mut end = read_end(connection)?;
    let mut counters = Counters::new(connection);
    let mut answers = Vec::with_capacity(entries.len());
    let mut appended = Vec::with_capacity(entries.len());
    for entry in entries {
        let raised = entry.event().map_or(Ok(Ok(())), |record| counters.raise(record))?;
        if let Err(NumberTaken { number, last }) = raised {
            tracing::error!(
                number,
                last,
                "an append was refused, because its number is taken; the next number is above the last one; run tally verify"
            );
        } else {
            appended.push((end, entry));
        }
        answers.push(raised.map(|()| end));
        end = Offset(end.0 + u64::from(raised.is_ok()));
    }
    insert_entries(connection, &appended)?;
    counters.store()?;
    let events: Vec<_> = appended.iter().filter_map(|(offset, entry)| Some((*offset, entry.event()?))).collect();
    requests::store(connection, &events)?;
    Ok(Appended { answers, end })
}

fn insert_entries(connection: &Connection, entries: &[(Offset, &Entry)]) -> rusqlite::Result<()> {
    let mut statement = prepare_insert(connection)?;
    for (offset, entry) in entries {
        match entry {
            Entry::Event(record) => insert_event(&mut statement, *offset, record)?,
            Entry::Marker(marker) => insert_marker(&mut statement, *offset, marker)?,
        }
    }
    Ok(())
}

/// Inserts records at their offsets.
pub(super) fn insert_events(connection: &Connection, records: &[(Offset, &Record)]) -> rusqlite::Result<()> {
    let mut statement = prepare_insert(connection)?;
    records.iter().try_for_each(|(offset, record)| insert_event(&mut statement, *offset, record))
}

fn prepare_insert(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    prepare(
        connection,
        "INSERT INTO events (log_offset, event_id, event_type, version, occurred_at_ms, stream, number, \
         request_key, request_values, epoch, traceparent, data, actor, checksum) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
}

fn insert_event(statement: &mut Statement, offset: Offset, record: &Record) -> rusqlite::Result<()> {
    let stream = record.stream.to_text();
    let trace = record.trace.map(|trace| trace.to_string());
    let actor = record.actor.as_ref().map(ToString::to_string);
    insert_row(
        statement,
        [
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
            actor.as_ref().map_or(ValueRef::Null, |actor| ValueRef::Text(actor.as_bytes())),
        ],
    )
}

fn insert_marker(statement: &mut Statement, offset: Offset, new: &NewMarker) -> rusqlite::Result<()> {
    insert_row(
        statement,
        [
            ValueRef::Integer(offset.0.cast_signed()),
            ValueRef::Blob(new.id.as_bytes()),
            ValueRef::Text(new.marker.wire_name().as_bytes()),
            ValueRef::Integer(markers::VERSION.into()),
            ValueRef::Integer(new.occurred_at.0.cast_signed()),
            ValueRef::Text(markers::NO_STREAM.as_bytes()),
            ValueRef::Null,
            ValueRef::Null,
            ValueRef::Null,
            new.marker.epoch().map_or(ValueRef::Null, |epoch| ValueRef::Integer(epoch.0.cast_signed())),
            ValueRef::Null,
            ValueRef::Blob(&new.data),
            ValueRef::Null,
        ],
    )
}

/// Inserts a row with its checksum.
fn insert_row(statement: &mut Statement, columns: [ValueRef; COLUMNS]) -> rusqlite::Result<()> {
    let checksum = ValueRef::Integer(checksum(&columns).into());
    statement.execute(params_from_iter(columns.into_iter().chain([checksum]).map(ToSqlOutput::Borrowed))).map(drop)
}
