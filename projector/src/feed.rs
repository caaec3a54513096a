//! Moves batches from a partition of the log to a projection.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, LogBatch, OtherLog, ReadError, ReadLimit, RecognitionError, Source, Unreadable};
use events::{EventId, Marker, Offset, PartitionId, Record, RecordedEvent};
use parking_lot::Mutex;
use read_model::{Applied, Checkpoint, CheckpointMove, DeadLetter, PauseError, Projection, SourceEvent};

use crate::epochs::{epoch_after, find_void_events, report_void_events, take_events};
use crate::parked::Parked;
use crate::sink::{Letters, ProjectionSink, SinkError};

/// Most records of one read that looks for a decision of an operator.
const RECORDS_AHEAD: u32 = 4_096;

/// A partition of the log and the projection that it feeds.
#[derive(Clone)]
pub struct Feed {
    /// The log with the events.
    pub log: Arc<dyn EventLog>,
    /// The projection.
    pub sink: Arc<dyn ProjectionSink>,
    /// The partition.
    pub partition: PartitionId,
    parked: Arc<Mutex<Parked>>,
}

/// A record that a newer release has written, and that no operator has parked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "offset {offset} of partition {partition} is {what}, which is newer than this program knows; upgrade this reader before the writers, \
     or pass over the record with dead-letters park {partition} {offset}"
)]
pub struct TooNew {
    /// The partition of the record.
    pub partition: PartitionId,
    /// The offset of the record.
    pub offset: Offset,
    /// The kind of record, in words.
    pub what: String,
}

/// Why a batch did not get from the log to the projection.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log could not be read.
    #[error("the next events cannot be read")]
    Read(#[source] ReadError),
    /// The next record is too new for the projection.
    #[error("the projection cannot go on")]
    TooNew(#[source] TooNew),
    /// The log is not the one that the projection was made from.
    #[error("the log does not have what the projection has applied")]
    OtherLog(#[source] OtherLog),
    /// The projection could not be read or written.
    #[error("the events cannot be applied")]
    Apply(#[source] SinkError),
    /// Whether the projection is paused could not be read.
    #[error(transparent)]
    Pause(PauseError),
}

impl FeedError {
    /// Whether trying again cannot help.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Read(ReadError::BeyondEnd { .. } | ReadError::Truncated { .. })
                | Self::OtherLog(_)
                | Self::TooNew(_)
                | Self::Apply(SinkError::Newer(_))
        )
    }
}

impl Feed {
    /// Feeds `sink` from a partition of `log`.
    pub fn new(log: Arc<dyn EventLog>, sink: Arc<dyn ProjectionSink>, partition: PartitionId) -> Self {
        Self { log, sink, partition, parked: Arc::default() }
    }

    /// The projection.
    pub fn projection(&self) -> Projection {
        self.sink.projection()
    }

    /// The checkpoint, at which the projection's next batch begins.
    ///
    /// # Errors
    /// If the projection cannot be read.
    pub async fn checkpoint(&self) -> Result<Checkpoint, FeedError> {
        self.sink.checkpoint(self.partition).await.map_err(FeedError::Apply)
    }

    /// Checks that the log is the one from which the projection has got to `checkpoint`. `end` was read after it.
    ///
    /// # Errors
    /// [`FeedError::OtherLog`] if it is not, and [`FeedError::Read`] if it cannot be read.
    pub async fn check_log(&self, checkpoint: Checkpoint, end: Offset) -> Result<(), FeedError> {
        let source = Source { log: checkpoint.log, record: checkpoint.record };
        source.recognise(&*self.log, self.partition, end).await.map_err(|error| match error {
            RecognitionError::Other(other) => FeedError::OtherLog(other),
            RecognitionError::Read(error) => FeedError::Read(error),
        })
    }

    /// The end of the partition.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn end(&self) -> Result<Offset, FeedError> {
        Ok(self.log.end().await.map_err(FeedError::Read)?.bound(self.partition))
    }

    /// Reads a batch from `next` on. At the log's end it waits for at most `wait`, and returns an empty batch if no
    /// event comes.
    ///
    /// # Errors
    /// If the log cannot be read there.
    pub async fn read(&self, next: Offset, wait: Duration) -> Result<LogBatch, FeedError> {
        let limit = ReadLimit { records: self.sink.batch_size(), wait };
        self.log.read(self.partition, next, limit).await.map_err(FeedError::Read)
    }

    /// Whether the batch has as many records as fit, so that the log may have more already.
    pub(crate) fn is_full(&self, log_batch: &LogBatch) -> bool {
        u32::try_from(log_batch.record_count()).is_ok_and(|records| records >= self.sink.batch_size())
    }

    /// Applies a batch that was read at `from`, the projection's checkpoint, and returns the new checkpoint.
    ///
    /// If the projection cannot apply a record because a newer version has written it, the batch ends before that record, unless an
    /// operator has parked it. Whether one has is in the log, behind the record: so this reads ahead, up to the log's end.
    /// Only a batch that begins with such a record is an error.
    ///
    /// For an empty batch it only reads the checkpoint again. So a projection that was lost and made again is filled
    /// from the start even if its partition gets no new events.
    ///
    /// # Errors
    /// After an error, read the checkpoint before trying again.
    pub async fn apply(&self, from: Checkpoint, mut log_batch: LogBatch) -> Result<Checkpoint, FeedError> {
        if log_batch.next == from.next {
            return self.checkpoint().await;
        }
        let void = find_void_events(&log_batch, from.epoch);
        while let Some(too_new) = self.find_too_new(&log_batch, &void) {
            if too_new.offset > from.next {
                log_batch = log_batch.cut_at(too_new.offset);
                break;
            }
            if !self.look_ahead(too_new.offset, Duration::ZERO).await? {
                return Err(FeedError::TooNew(too_new));
            }
        }
        let next = log_batch.next;
        let record = log_batch.last_record().or(from.record);
        let log = match from.log {
            Some(id) => Some(id),
            None => self.log.id().await.map_err(FeedError::Read)?,
        };
        let void = take_events(&mut log_batch, &void);
        let letters = self.extract_letters(&mut log_batch);
        let to = Checkpoint { next, epoch: epoch_after(&log_batch, from.epoch), record, log };
        let checkpoint_move = CheckpointMove { partition: self.partition, from: from.next, to };
        match self.sink.apply(checkpoint_move, &log_batch.events, &letters).await.map_err(FeedError::Apply)? {
            Applied::Done => {
                report_void_events(&void);
                self.parked.lock().forget_before(next);
                Ok(checkpoint_move.to)
            }
            Applied::Superseded => self.checkpoint().await,
        }
    }

    /// Finds the first record that is too new for the projection and not known to be parked. Events at the offsets `void` do not count.
    fn find_too_new(&self, log_batch: &LogBatch, void: &[Offset]) -> Option<TooNew> {
        let parked = self.parked.lock();
        let newer = log_batch.newer.iter().map(|record| (record.offset, &record.what));
        let newer = newer.filter(|(offset, _)| !parked.contains(*offset)).min_by_key(|(offset, _)| *offset);
        let newer = newer.map(|(offset, what)| (offset, what.clone()));
        let event = log_batch.events.iter().find(|event| {
            self.sink.is_too_new(&event.record)
                && void.binary_search(&event.offset).is_err()
                && !parked.contains(event.offset)
        });
        let event = event.map(|event| (event.offset, describe(&event.record)));
        let first = newer.into_iter().chain(event).min_by_key(|(offset, _)| *offset);
        first.map(|(offset, what)| TooNew { partition: self.partition, offset, what })
    }

    /// Reads ahead, up to the log's end, until it is known whether the record at `offset` is parked. At the end it waits for a record, for
    /// at most `wait`.
    ///
    /// # Errors
    /// If the log cannot be read there.
    pub async fn look_ahead(&self, offset: Offset, wait: Duration) -> Result<bool, FeedError> {
        let end = self.end().await?;
        self.parked.lock().begin_search(offset);
        loop {
            if self.parked.lock().contains(offset) {
                return Ok(true);
            }
            let from = self.parked.lock().read_from(offset);
            let wait = if from < end { Duration::ZERO } else { wait };
            if from >= end && wait.is_zero() {
                return Ok(false);
            }
            let limit = ReadLimit { records: RECORDS_AHEAD, wait };
            let ahead = self.log.read(self.partition, from, limit).await.map_err(FeedError::Read)?;
            self.parked.lock().add(&ahead, offset);
            if from >= end {
                return Ok(self.parked.lock().contains(offset));
            }
        }
    }

    /// Takes what no projection shows out of a batch without void events, all of whose records the projection can pass.
    fn extract_letters(&self, log_batch: &mut LogBatch) -> Letters {
        let mut new: Vec<_> = log_batch.unreadable.iter().map(letter_of_unreadable).collect();
        new.extend(log_batch.newer.iter().map(|record| letter_of_parked(record.offset, EventId::NONE, &record.what)));
        let parked: Vec<_> = log_batch.events.extract_if(.., |event| self.sink.is_too_new(&event.record)).collect();
        new.extend(
            parked.iter().map(|RecordedEvent { offset, record, .. }| {
                letter_of_parked(*offset, record.event_id, &describe(record))
            }),
        );
        let discarded = log_batch.markers.iter().filter_map(|marker| match marker.marker {
            Marker::DeadLetterDiscarded(offset) => Some(offset),
            _ => None,
        });
        Letters { new, parked, discarded: discarded.collect() }
    }

    /// Applies every event before `goal`, and calls `on_progress` with the new checkpoint after each batch.
    ///
    /// # Errors
    /// The first failure.
    pub async fn catch_up(&self, goal: Offset, on_progress: impl Fn(Offset)) -> Result<(), FeedError> {
        let mut checkpoint = self.checkpoint().await?;
        while checkpoint.next < goal {
            let log_batch = self.read(checkpoint.next, Duration::ZERO).await?.cut_at(goal);
            if log_batch.next == checkpoint.next {
                // Offsets need not be dense: nothing lies between the checkpoint and the goal.
                break;
            }
            checkpoint = self.apply(checkpoint, log_batch).await?;
            on_progress(checkpoint.next);
        }
        Ok(())
    }
}

/// Describes an event of a newer version.
fn describe(record: &Record) -> String {
    format!("{} version {}", record.event_type, record.version)
}

fn letter_of_unreadable(record: &Unreadable) -> DeadLetter {
    let source = SourceEvent { event_id: EventId::NONE, offset: record.offset };
    DeadLetter { source, reason: format!("this is no event: {}", record.reason) }
}

fn letter_of_parked(offset: Offset, event_id: EventId, what: &str) -> DeadLetter {
    let source = SourceEvent { event_id, offset };
    DeadLetter {
        source,
        reason: format!("an operator has parked it: it is {what}, which is newer than this program knows"),
    }
}

#[cfg(test)]
mod tests {
    use embedded::DataDir;
    use events::{ChatApplicationCreated, Epoch, Event, RecordId, RecordedMarker};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use testkit::histories::{record, token};
    use uuid::Uuid;

    use super::*;
    use crate::views::ViewsSink;

    const PARTITION: PartitionId = PartitionId(0);

    /// An epoch starts, an event of the one before is void, and a record of a newer version ends the batch.
    fn batch() -> LogBatch {
        let created =
            record(&Event::ChatApplicationCreated(ChatApplicationCreated { token: token(1), name: "x".into() }));
        let void = Record { epoch: Some(Epoch(5)), ..created.clone() };
        let event = |offset, record| RecordedEvent { partition: PARTITION, offset: Offset(offset), record };
        let marker = Marker::EpochStarted(Epoch(9));
        let id = RecordId(Uuid::nil());
        LogBatch {
            markers: vec![RecordedMarker { partition: PARTITION, offset: Offset(0), id, marker }],
            events: vec![event(1, void), event(2, Record { version: 99, ..created })],
            ..LogBatch::empty(Offset(3))
        }
    }

    #[tokio::test]
    async fn a_void_event_is_reported_once_and_when_it_is_passed() {
        let directory = tempfile::TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = data_dir.open_log().unwrap();
        let store = data_dir.open_projections(log.log_id()).unwrap();
        let feed = Feed::new(Arc::new(log), Arc::new(ViewsSink(Arc::new(store))), PARTITION);
        let recorder = PrometheusBuilder::new().build_recorder();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let reported = || recorder.handle().render().contains("tally_void_events_total 1");
        // Another owner of the partition has moved the checkpoint: it reports.
        let moved = Checkpoint { next: Offset(0), epoch: Epoch(7), ..Checkpoint::START };
        let other = feed.apply(Checkpoint { next: Offset(1), ..moved }, batch()).await;
        assert!(!reported(), "{other:?}");
        let checkpoint = feed.apply(Checkpoint::START, batch()).await.unwrap();
        assert_eq!((checkpoint.next, checkpoint.epoch), (Offset(2), Epoch(9)));
        assert!(reported(), "{}", recorder.handle().render());
        assert!(recorder.handle().render().contains("# HELP tally_void_events_total "));
    }
}
