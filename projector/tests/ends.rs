//! What the end of a run loop means: for its partition, and for the process.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use embedded::DataDir;
use event_log::EventLog;
use events::{ChatApplicationCreated, Event, Offset, PartitionId, Record};
use projector::run_loop::{ended, fatal};
use projector::{Fatal, Feed, RunLoop, RunLoops, Stopped, Target};
use read_model::{Checkpoint, CheckpointMove, ProjectionStore, ViewsChanges};
use service::health::Readiness;
use tempfile::TempDir;
use testkit::histories::{record, token};
use tokio_util::sync::CancellationToken;

const PARTITION: PartitionId = PartitionId(0);
/// Longest that a test waits for something that must come.
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
        let log = Arc::new(data_dir.open_log().await.unwrap());
        Self {
            store: Arc::new(data_dir.open_projections(log.log_id()).await.unwrap()),
            log,
            readiness: Readiness::new(),
            run_loops: RunLoops::new(),
            stop: CancellationToken::new(),
            _data_dir: data_dir,
            _directory: directory,
        }
    }

    fn project(&mut self) {
        let target = Target::Views(Arc::clone(&self.store));
        let feed = Feed { log: Arc::clone(&self.log), target, partition: PARTITION };
        let run_loop = RunLoop::new(feed, self.readiness.part("views"));
        self.run_loops.spawn(run_loop.run(self.stop.clone()));
    }

    async fn fatal(&mut self) -> Fatal {
        tokio::time::timeout(DEADLINE, fatal(&mut self.run_loops)).await.unwrap()
    }
}

#[tokio::test]
async fn a_checkpoint_beyond_the_log_is_fatal_and_never_ready() {
    let mut fixture = Fixture::new().await;
    let to = Checkpoint { next: Offset(7), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: PARTITION, from: Offset::START, to };
    fixture.store.apply_views(checkpoint_move, ViewsChanges::default()).await.unwrap();
    fixture.project();
    let told = fixture.fatal().await;
    assert!(matches!(&told, Fatal::NotInLog(Stopped::NotInLog { .. })), "{told:?}");
    assert!(!fixture.readiness.is_ready());
}

#[tokio::test]
async fn a_panic_is_fatal() {
    let mut fixture = Fixture::new().await;
    fixture.project();
    fixture.run_loops.spawn(async { panic!("in a run loop") });
    let told = fixture.fatal().await;
    assert!(matches!(told, Fatal::Panicked(_)), "{told:?}");
    fixture.stop.cancel();
    ended(fixture.run_loops).await.unwrap();
}

#[tokio::test]
async fn something_newer_is_not_fatal_and_not_ready() {
    let mut fixture = Fixture::new().await;
    let created = ChatApplicationCreated { token: token(1), name: "newer".into() };
    let record = record(&Event::ChatApplicationCreated(created));
    fixture.log.append(Record { version: 99, ..record }).await.unwrap();
    fixture.project();
    tokio::time::timeout(DEADLINE, ended(fixture.run_loops)).await.unwrap().unwrap();
    assert!(!fixture.readiness.is_ready());
}
