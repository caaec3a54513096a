//! What a run loop tells others while it stands still, is paused, or is released.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use event_log::EventLog;
use events::{Offset, PartitionId, Record, RecordedEvent};
use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use projector::sink::{Letters, ProjectionSink, SinkError};
use projector::views::ViewsSink;
use projector::{AssignedPartitions, Feed, RunLoop};
use read_model::{Applied, Checkpoint, CheckpointMove, PauseError, Pauses, Projection};
use testkit::polling::{eventually, until};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Fixture, PARTITION};

/// `views`, with the note of a stop that another process would read.
struct NotingSink {
    views: ViewsSink,
    note: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl ProjectionSink for NotingSink {
    fn projection(&self) -> Projection {
        self.views.projection()
    }

    fn batch_size(&self) -> u32 {
        self.views.batch_size()
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SinkError> {
        self.views.checkpoint(partition).await
    }

    async fn apply(
        &self,
        checkpoint_move: CheckpointMove,
        batch: &[RecordedEvent],
        letters: &Letters,
    ) -> Result<Applied, SinkError> {
        self.views.apply(checkpoint_move, batch, letters).await
    }

    async fn note_stop(&self, _partition: PartitionId, _at: Offset, reason: &str) -> Result<(), SinkError> {
        *self.note.lock() = Some(reason.to_owned());
        Ok(())
    }

    async fn clear_stop(&self, _partition: PartitionId) -> Result<(), SinkError> {
        *self.note.lock() = None;
        Ok(())
    }
}

/// Whether every projection is paused.
#[derive(Default)]
struct OnePause(AtomicBool);

#[async_trait]
impl Pauses for OnePause {
    async fn is_paused(&self, _projection: Projection) -> Result<bool, PauseError> {
        Ok(self.0.load(Ordering::SeqCst))
    }

    async fn set_paused(&self, _projection: Projection, is_paused: bool) -> Result<(), PauseError> {
        self.0.store(is_paused, Ordering::SeqCst);
        Ok(())
    }
}

/// Starts a run loop whose sink keeps its note of a stop in memory.
fn start_noting(fixture: &mut Fixture, note: &Arc<Mutex<Option<String>>>, pause: &Arc<OnePause>) {
    let sink = NotingSink { views: ViewsSink(Arc::clone(&fixture.store)), note: Arc::clone(note) };
    let feed = Feed::new(Arc::clone(&fixture.log) as _, Arc::new(sink), PARTITION);
    let [part, paused] = ["views", "paused"].map(|part| fixture.readiness.part(part));
    fixture.start(RunLoop::new(feed, part).with_pauses(Arc::clone(pause) as _, paused));
}

/// A process that read another log has left it. No event comes that would move the checkpoint.
#[tokio::test]
async fn the_note_of_a_stop_is_deleted_once_the_log_is_the_right_one() {
    let mut fixture = Fixture::new().await;
    fixture.append(1).await;
    fixture.set_checkpoint(Checkpoint { next: Offset(1), ..Checkpoint::START }).await;
    let note = Arc::new(Mutex::new(Some("the projection was made from another log".to_owned())));
    start_noting(&mut fixture, &note, &Arc::default());
    until(DEADLINE, "no note", async || note.lock().is_none()).await;
    fixture.stop().await;
}

/// A restart before a record of a newer version does not make readers ready for a moment.
#[tokio::test]
async fn the_note_of_a_stop_stays_while_its_cause_does() {
    let mut fixture = Fixture::new().await;
    fixture.log.append(Record { version: 99, ..fixture.new_record(1) }).await.unwrap();
    let note = Arc::new(Mutex::new(Some("of the process before".to_owned())));
    start_noting(&mut fixture, &note, &Arc::default());
    until(DEADLINE, "another note", async || {
        let noted = note.lock().clone();
        assert_ne!(noted, None, "the note was deleted");
        noted.is_some_and(|noted| noted.contains("version 99"))
    })
    .await;
    fixture.stop().await;
}

/// While an operator has paused the projection, readers may use what it has.
#[tokio::test]
async fn a_loop_that_stands_still_notices_a_pause_and_its_end() {
    let mut fixture = Fixture::new().await;
    fixture.log.append(Record { version: 99, ..fixture.new_record(1) }).await.unwrap();
    let (note, pause) = (Arc::new(Mutex::new(None)), Arc::new(OnePause::default()));
    start_noting(&mut fixture, &note, &pause);
    for is_paused in [false, true, false] {
        pause.set_paused(Projection::Views, is_paused).await.unwrap();
        let what = format!("note of a stop, paused: {is_paused}");
        until(DEADLINE, &what, async || note.lock().is_none() == is_paused).await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_released_has_no_dead_letters_and_is_not_paused() {
    let fixture = Fixture::new().await;
    fixture.log.append(Record { data: "{}".into(), ..fixture.new_record(1) }).await.unwrap();
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let has_gauges = async |letters: u8, paused: u8| {
        let (metrics, partition) = (recorder.handle().render(), PARTITION.0);
        let letters = format!("tally_dead_letters{{partition=\"{partition}\"}} {letters}\n");
        let paused = format!("tally_projection_paused{{projection=\"views\"}} {paused}\n");
        if metrics.contains(&letters) && metrics.contains(&paused) { Ok(()) } else { Err(metrics) }
    };
    let (assign, assigned) = watch::channel(Some(BTreeSet::from([PARTITION])));
    let (pause, stop) = (Arc::new(OnePause::default()), CancellationToken::new());
    let assignment = AssignedPartitions {
        log: Arc::clone(&fixture.log) as _,
        sink: Arc::new(ViewsSink(Arc::clone(&fixture.store))),
        pauses: Arc::clone(&pause) as _,
        part: fixture.readiness.part("partitions"),
        readiness: fixture.readiness.clone(),
    };
    let running = tokio::spawn(assignment.run(assigned, |_, _| {}, stop.clone()));
    eventually("a dead letter", async || has_gauges(1, 0).await).await;
    pause.set_paused(Projection::Views, true).await.unwrap();
    eventually("a pause", async || has_gauges(1, 1).await).await;
    assign.send_replace(Some(BTreeSet::new()));
    eventually("nothing", async || has_gauges(0, 0).await).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
