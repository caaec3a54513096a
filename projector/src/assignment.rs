//! Several processes share the partitions. Runs a run loop for each partition that is assigned to this process.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use events::{Offset, PartitionId, Position};
use metrics::Gauge;
use service::health::{Part, Readiness};
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::run_loop::{self, Fatal, RunLoop, RunLoops};
use crate::sink::ProjectionSink;

/// Time between two reports of the projection's progress.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Feeds a projection from the partitions that are assigned to this process, for as long as they are.
///
/// When a partition is taken away, this stops the partition's run loop, but does not wait for its last batch. For
/// a moment two processes may own the partition; the checkpoint decides between them.
pub struct AssignedPartitions {
    /// The log with the events.
    pub log: Arc<dyn EventLog>,
    /// The projection.
    pub sink: Arc<dyn ProjectionSink>,
    /// Becomes ready with the first assignment.
    pub part: Part,
    /// Gets a part for each run loop.
    pub readiness: Readiness,
}

/// The handles to a running run loop.
struct RunningLoop {
    stop: CancellationToken,
    applied: watch::Receiver<Option<Offset>>,
    part: Part,
}

impl AssignedPartitions {
    /// Runs until `stop`, and lets the current batches end. `assigned` is `None` before the first assignment. `report` is
    /// called every 5 s with each partition's checkpoint. Dropping the future cuts the run loops off.
    ///
    /// # Errors
    /// [`Fatal`], after which the process must end.
    pub async fn run(
        self,
        mut assigned: watch::Receiver<Option<BTreeSet<PartitionId>>>,
        report: impl Fn(PartitionId, Offset) + Send + Sync,
        stop: CancellationToken,
    ) -> Result<(), Fatal> {
        let mut run_loops = RunLoops::new();
        let mut running = BTreeMap::new();
        let (end, mut ends) = watch::channel(Position::default());
        // Polled beside everything else, because the log may be slow to answer.
        let polling = self.poll_end(&end);
        tokio::pin!(polling);
        let outcome = loop {
            if let Some(partitions) = &*assigned.borrow_and_update() {
                self.change_run_loops(partitions, &mut running, &mut run_loops);
                self.part.ready();
            }
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                fatal = run_loop::wait_for_fatal(&mut run_loops) => break Err(fatal),
                // Once the sender is gone, this process keeps the partitions that it has.
                Ok(()) = assigned.changed() => {}
                Ok(()) = ends.changed() => self.report_progress(&ends.borrow_and_update(), &running, &report),
                never = &mut polling => match never {},
            }
        };
        running.into_values().for_each(|run_loop: RunningLoop| run_loop.stop.cancel());
        outcome.and(run_loop::wait_for_ends(run_loops).await)
    }

    /// Stops the loops of partitions that were taken away, and starts a loop for each new one.
    fn change_run_loops(
        &self,
        assigned: &BTreeSet<PartitionId>,
        running: &mut BTreeMap<PartitionId, RunningLoop>,
        run_loops: &mut RunLoops,
    ) {
        running.retain(|partition, run_loop| {
            let is_kept = assigned.contains(partition);
            if !is_kept {
                tracing::info!(
                    projection = self.sink.projection().name(),
                    partition = partition.0,
                    "partition released"
                );
                run_loop.stop.cancel();
                run_loop.part.ready();
                // The partition's next owner reports its lag.
                self.lag(*partition).set(0.0);
            }
            is_kept
        });
        for partition in assigned {
            running.entry(*partition).or_insert_with(|| self.start_run_loop(*partition, run_loops));
        }
    }

    fn start_run_loop(&self, partition: PartitionId, run_loops: &mut RunLoops) -> RunningLoop {
        let projection = self.sink.projection().name();
        tracing::info!(projection, partition = partition.0, "partition taken over");
        let feed = Feed { log: Arc::clone(&self.log), sink: Arc::clone(&self.sink), partition };
        let part = self.readiness.part(projection);
        let run_loop = RunLoop::new(feed, part.clone());
        let running = RunningLoop { stop: CancellationToken::new(), applied: run_loop.subscribe(), part: part.clone() };
        let stop = running.stop.clone();
        run_loops.spawn(async move {
            let ended = run_loop.run(stop.clone()).await;
            if stop.is_cancelled() {
                // Another process may own the partition now, so this one ignores the loop's failures.
                part.ready();
                return Ok(());
            }
            ended
        });
        running
    }

    /// Reads the log's end every 5 s and publishes it.
    async fn poll_end(&self, published: &watch::Sender<Position>) -> Infallible {
        let mut interval = tokio::time::interval(REPORT_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            match self.log.end().await {
                Ok(end) => drop(published.send_replace(end)),
                Err(error) => {
                    tracing::debug!(error = %error.as_report(), "the lag of a projection is unknown: the log's end cannot be read");
                }
            }
        }
    }

    /// Reports each partition's checkpoint, and sets its lag behind the log's `end`. Skips a partition whose checkpoint has
    /// not been read yet.
    fn report_progress(
        &self,
        end: &Position,
        running: &BTreeMap<PartitionId, RunningLoop>,
        report: impl Fn(PartitionId, Offset),
    ) {
        for (partition, run_loop) in running {
            let Some(applied) = *run_loop.applied.borrow() else {
                continue;
            };
            report(*partition, applied);
            let lag = end.bound(*partition).0.saturating_sub(applied.0);
            // A 64-bit float holds every count of events exactly that can occur.
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            self.lag(*partition).set(lag as f64);
        }
    }

    fn lag(&self, partition: PartitionId) -> Gauge {
        let projection = self.sink.projection().name();
        metrics::gauge!("tally_projection_lag_events", "projection" => projection, "partition" => partition.to_string())
    }
}
