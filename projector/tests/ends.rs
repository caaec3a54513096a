//! The ways in which a run loop ends, and which of them are fatal for the process.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use embedded::DataDir;
use event_log::EventLog;
use events::{ChatApplicationCreated, Event, Offset, PartitionId, Record};
use projector::run_loop::{wait_for_ends, wait_for_fatal};
use projector::views::ViewsSink;
use projector::{Fatal, Feed, RunLoop, RunLoops, Stopped};
use read_model::{Checkpoint, CheckpointMove, Projection, ProjectionStore, ViewsChanges};
use service::health::Readiness;
use tempfile::TempDir;
use testkit::histories::{record, token};
use tokio_util::sync::CancellationToken;

const PARTITION: PartitionId = PartitionId(0);
/// Longest wait of a test for something that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

struct Fixture {
    log: Arc<dyn EventLog>,
    store: Arc<dyn ProjectionStore>,
    readiness: Readiness,
    run_loops: RunLoops,
    stop: CancellationToken,
    _data_dir: DataDir,
    _directory: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let log = Arc::new(data_dir.open_log().unwrap());
        Self {
            store: Arc::new(data_dir.open_projections(log.log_id()).unwrap()),
            log,
            readiness: Readiness::new(),
            run_loops: RunLoops::new(),
            stop: CancellationToken::new(),
            _data_dir: data_dir,
            _directory: directory,
        }
    }

    fn start_run_loop(&mut self) {
        let sink = Arc::new(ViewsSink(Arc::clone(&self.store)));
        let feed = Feed { log: Arc::clone(&self.log), sink, partition: PARTITION };
        let run_loop = RunLoop::new(feed, self.readiness.part("views"));
        self.run_loops.spawn(run_loop.run(self.stop.clone()));
    }

    async fn wait_for_fatal(&mut self) -> Fatal {
        tokio::time::timeout(DEADLINE, wait_for_fatal(&mut self.run_loops)).await.unwrap()
    }
}

#[tokio::test]
async fn a_checkpoint_beyond_the_log_is_fatal_and_never_ready() {
    let mut fixture = Fixture::new().await;
    let to = Checkpoint { next: Offset(7), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset::START, to };
    fixture.store.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
    fixture.start_run_loop();
    let fatal = fixture.wait_for_fatal().await;
    assert!(matches!(&fatal, Fatal::NotInLog(Stopped::NotInLog { .. })), "{fatal:?}");
    assert!(!fixture.readiness.is_ready());
}

#[tokio::test]
async fn a_panic_is_fatal() {
    let mut fixture = Fixture::new().await;
    fixture.start_run_loop();
    fixture.run_loops.spawn(async { panic!("in a run loop") });
    let fatal = fixture.wait_for_fatal().await;
    assert!(matches!(fatal, Fatal::Panicked(_)), "{fatal:?}");
    fixture.stop.cancel();
    wait_for_ends(fixture.run_loops).await.unwrap();
}

#[tokio::test]
async fn something_newer_is_not_fatal_and_not_ready() {
    let mut fixture = Fixture::new().await;
    let created = ChatApplicationCreated { token: token(1), name: "newer".into() };
    let record = record(&Event::ChatApplicationCreated(created));
    let known = fixture.log.append(record.clone()).await.unwrap();
    fixture.log.append(Record { version: 99, ..record }).await.unwrap();
    fixture.start_run_loop();
    tokio::time::timeout(DEADLINE, wait_for_ends(fixture.run_loops)).await.unwrap().unwrap();
    assert!(!fixture.readiness.is_ready());
    let applied = fixture.store.checkpoint(Projection::Views, PARTITION).await.unwrap();
    assert_eq!(applied.next, known.bound(PARTITION), "not all that comes before it is applied");
}
