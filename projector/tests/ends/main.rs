//! The ways in which a run loop ends or stands still, and which of them are fatal for the process.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod log_ends;
mod standing_still;

use std::sync::Arc;
use std::time::Duration;

use embedded::{DataDir, SqliteLog};
use event_log::{EventLog, MarkerLog};
use events::{ChatApplicationCreated, Event, KnownRecord, Marker, Offset, PartitionId, Record, RecordId};
use projector::counts::CountsSink;
use projector::feed::FeedError;
use projector::run_loop::{wait_for_ends, wait_for_fatal};
use projector::views::ViewsSink;
use projector::{Fatal, Feed, RunLoop, RunLoops, Stopped};
use read_model::{
    Access, Applied, Checkpoint, CheckpointMove, CountsChanges, Projection, ProjectionStore, ViewsChanges,
};
use service::health::Readiness;
use tempfile::TempDir;
use testkit::histories::{record, token};
use testkit::polling::eventually;
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PARTITION: PartitionId = PartitionId(0);
/// Longest wait of a test for something that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

struct Fixture {
    log: Arc<SqliteLog>,
    store: Arc<dyn ProjectionStore>,
    access: Arc<dyn Access>,
    readiness: Readiness,
    run_loops: RunLoops,
    stop: CancellationToken,
    _data_dir: DataDir,
    _directory: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self::with_log_id(SqliteLog::log_id).await
    }

    /// The projections are those of another log, if its identity is not that of the log.
    async fn with_log_id(source: impl FnOnce(&SqliteLog) -> Uuid) -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = Arc::new(data_dir.open_log().unwrap());
        let projections = Arc::new(data_dir.open_projections(source(&log)).unwrap());
        Self {
            store: Arc::clone(&projections) as _,
            access: projections,
            log,
            readiness: Readiness::new(),
            run_loops: RunLoops::new(),
            stop: CancellationToken::new(),
            _data_dir: data_dir,
            _directory: directory,
        }
    }

    /// Appends the creation of an application.
    async fn append(&self, number: u8) -> Record {
        let record = self.new_record(number);
        self.log.append(record.clone()).await.unwrap();
        record
    }

    fn new_record(&self, number: u8) -> Record {
        record(&Event::ChatApplicationCreated(ChatApplicationCreated { token: token(number), name: "x".into() }))
    }

    fn feed(&self) -> Feed {
        Feed::new(Arc::clone(&self.log) as _, Arc::new(ViewsSink(Arc::clone(&self.store))), PARTITION)
    }

    async fn wait_until_applied(&self, next: Offset) {
        eventually("the checkpoint", async || {
            let checkpoint = self.checkpoint().await;
            if checkpoint.next == next { Ok(()) } else { Err(checkpoint) }
        })
        .await;
    }

    async fn checkpoint(&self) -> Checkpoint {
        self.store.checkpoint(Projection::Views, PARTITION).await.unwrap()
    }

    /// Moves the checkpoint from the start.
    async fn set_checkpoint(&self, to: Checkpoint) {
        let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset::START, to };
        self.store.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
    }

    fn start_run_loop(&mut self) {
        self.start(RunLoop::new(self.feed(), self.readiness.part("views")));
    }

    fn start(&mut self, run_loop: RunLoop) {
        self.run_loops.spawn(run_loop.run(self.stop.clone()));
    }

    async fn stop(self) {
        self.stop.cancel();
        wait_for_ends(self.run_loops).await.unwrap();
    }

    async fn wait_for_fatal(&mut self) -> Fatal {
        tokio::time::timeout(DEADLINE, wait_for_fatal(&mut self.run_loops)).await.unwrap()
    }
}

#[tokio::test]
async fn a_checkpoint_beyond_the_log_is_fatal_and_never_ready() {
    let mut fixture = Fixture::new().await;
    fixture.set_checkpoint(Checkpoint { next: Offset(7), ..Checkpoint::START }).await;
    fixture.start_run_loop();
    let fatal = fixture.wait_for_fatal().await;
    assert!(matches!(&fatal, Fatal::NotInLog(Stopped::NotInLog { .. })), "{fatal:?}");
    assert!(!fixture.readiness.is_ready());
}

/// A log that lost its end, and has grown beyond the checkpoint since.
#[tokio::test]
async fn another_record_at_the_checkpoint_is_fatal_and_never_ready() {
    let mut fixture = Fixture::new().await;
    fixture.append(1).await;
    let record = Some(KnownRecord { offset: Offset(0), id: RecordId(Uuid::now_v7()) });
    fixture.set_checkpoint(Checkpoint { next: Offset(1), record, ..Checkpoint::START }).await;
    for name in 2..5 {
        fixture.append(name).await;
    }
    fixture.start_run_loop();
    let fatal = fixture.wait_for_fatal().await.to_report_string();
    assert!(fatal.contains("offset 0 of partition 0 has another record") && fatal.contains("rebuild"), "{fatal}");
    assert!(!fixture.readiness.is_ready());
    assert_eq!(fixture.checkpoint().await.next, Offset(1), "it applied events of the other log");
}

#[tokio::test]
async fn another_log_is_fatal_even_before_the_first_batch() {
    let mut fixture = Fixture::with_log_id(|_| Uuid::now_v7()).await;
    fixture.append(1).await;
    fixture.start_run_loop();
    let fatal = fixture.wait_for_fatal().await.to_report_string();
    assert!(fatal.contains("the projection was made from the log"), "{fatal}");
    assert!(!fixture.readiness.is_ready());
    assert_eq!(fixture.checkpoint().await.next, Offset::START);
}

/// An earlier release has applied what lies before.
#[tokio::test]
async fn a_checkpoint_without_a_record_is_accepted_and_gets_one() {
    let mut fixture = Fixture::new().await;
    fixture.append(1).await;
    fixture.set_checkpoint(Checkpoint { next: Offset(1), ..Checkpoint::START }).await;
    let record = fixture.append(2).await;
    fixture.start_run_loop();
    let expected = Some(KnownRecord { offset: Offset(1), id: record.event_id.into() });
    eventually("the record", async || {
        let checkpoint = fixture.checkpoint().await;
        if checkpoint.record == expected { Ok(()) } else { Err(checkpoint) }
    })
    .await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_panic_is_fatal() {
    let mut fixture = Fixture::new().await;
    fixture.start_run_loop();
    fixture.run_loops.spawn(async { panic!("in a run loop") });
    let fatal = fixture.wait_for_fatal().await;
    assert!(matches!(fatal, Fatal::Panicked(_)), "{fatal:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn something_newer_is_not_fatal_and_not_ready_until_it_is_parked() {
    let mut fixture = Fixture::new().await;
    let created = ChatApplicationCreated { token: token(1), name: "newer".into() };
    let record = record(&Event::ChatApplicationCreated(created));
    let known = fixture.log.append(record.clone()).await.unwrap();
    fixture.log.append(Record { version: 99, ..record }).await.unwrap();
    fixture.start_run_loop();
    fixture.wait_until_applied(known.bound(PARTITION)).await;
    assert!(!fixture.readiness.is_ready());
    // The run loop goes on once an operator has parked the record, which lies before the marker.
    let behind = fixture.append(3).await;
    fixture.log.append_marker(PARTITION, Marker::DeadLetterParked(Offset(1))).await.unwrap();
    fixture.wait_until_applied(Offset(4)).await;
    let letters = fixture.store.dead_letters(PARTITION, 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.source.offset, Offset(1));
    assert!(letter.reason.contains("an operator has parked it") && letter.reason.contains("version 99"), "{letter:?}");
    let last = fixture.checkpoint().await.record.unwrap();
    assert_ne!(last.id, behind.event_id.into(), "the marker is the last record");
    testkit::polling::until(DEADLINE, "readiness", async || fixture.readiness.is_ready()).await;
    fixture.log.append_marker(PARTITION, Marker::DeadLetterDiscarded(Offset(1))).await.unwrap();
    fixture.wait_until_applied(Offset(5)).await;
    assert_eq!(fixture.store.dead_letters(PARTITION, 10).await.unwrap(), []);
    fixture.stop().await;
}

/// From the start of the log, as a rebuild does: the decision lies behind the record, whatever lies between, and whatever a read returns.
#[tokio::test]
async fn a_replay_passes_parked_records_and_stops_at_others() {
    let fixture = Fixture::new().await;
    let newer = async |number| {
        let record = Record { version: 99, ..fixture.new_record(number) };
        fixture.log.append(record).await.unwrap();
    };
    fixture.append(1).await;
    for number in 2..5 {
        newer(number).await;
    }
    for offset in [3, 1] {
        fixture.log.append_marker(PARTITION, Marker::DeadLetterParked(Offset(offset))).await.unwrap();
    }
    let end = fixture.log.end().await.unwrap().bound(PARTITION);
    let stopped = fixture.feed().catch_up(end, |_| {}).await.unwrap_err();
    assert!(matches!(&stopped, FeedError::TooNew(record) if record.offset == Offset(2)), "{stopped:?}");
    assert!(stopped.is_lasting());
    assert_eq!(fixture.checkpoint().await.next, Offset(2));
    fixture.log.append_marker(PARTITION, Marker::DeadLetterParked(Offset(2))).await.unwrap();
    fixture.log.append_marker(PARTITION, Marker::DeadLetterDiscarded(Offset(3))).await.unwrap();
    let end = fixture.log.end().await.unwrap().bound(PARTITION);
    fixture.feed().catch_up(end, |_| {}).await.unwrap();
    let letters = fixture.store.dead_letters(PARTITION, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.source.offset.0).collect::<Vec<_>>(), [1, 2]);
}

/// An index or a database that was lost is made again from the start, by the same run loop. `counts` stands for it here, because its
/// checkpoint can be set back: it has no row of what the test appends.
#[tokio::test]
async fn a_projection_that_is_lost_passes_a_parked_record_again() {
    let mut fixture = Fixture::new().await;
    fixture.append(1).await;
    fixture.log.append(Record { version: 99, ..fixture.new_record(2) }).await.unwrap();
    fixture.log.append_marker(PARTITION, Marker::DeadLetterParked(Offset(1))).await.unwrap();
    fixture.append(3).await;
    let sink = Arc::new(CountsSink(Arc::clone(&fixture.store)));
    let feed = Feed::new(Arc::clone(&fixture.log) as _, sink, PARTITION);
    fixture.start(RunLoop::new(feed, fixture.readiness.part("counts")));
    let store = Arc::clone(&fixture.store);
    let wait_until_applied = async |next| {
        eventually("the checkpoint", async || {
            let checkpoint = store.checkpoint(Projection::Counts, PARTITION).await.unwrap();
            if checkpoint.next == next { Ok(()) } else { Err(checkpoint) }
        })
        .await;
    };
    wait_until_applied(Offset(4)).await;
    let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset(4), to: Checkpoint::START };
    let moved = store.apply_counts(checkpoint_move, CountsChanges::default()).await.unwrap();
    assert_eq!(moved, Applied::Done);
    // Wakes the loop, which finds the step back.
    fixture.append(4).await;
    wait_until_applied(Offset(5)).await;
    fixture.stop().await;
}
