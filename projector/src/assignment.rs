//! Several processes share the partitions. Runs a run loop for each partition that is assigned to this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event_log::EventLog;
use events::{Offset, PartitionId, Position};
use read_model::Pauses;
use service::health::{Part, Readiness};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::lag::{self, ReachedReceiver};
use crate::run_loop::{self, Fatal, RunLoop, RunLoops};
use crate::sink::ProjectionSink;

/// Feeds a projection from the partitions that are assigned to this process, for as long as they are.
///
/// When a partition is taken away, this stops the partition's run loop, but does not wait for its last batch. For
/// a moment two processes may own the partition; the checkpoint decides between them.
pub struct AssignedPartitions {
    /// The log with the events.
    pub log: Arc<dyn EventLog>,
    /// The projection.
    pub sink: Arc<dyn ProjectionSink>,
    /// Whether the projection is paused.
    pub pauses: Arc<dyn Pauses>,
    /// Becomes ready with the first assignment.
    pub part: Part,
    /// Gets a part for each run loop.
    pub readiness: Readiness,
}

/// The handles to a running run loop.
struct RunningLoop {
    stop: CancellationToken,
    reached: ReachedReceiver,
    /// Follows the log, and is not paused.
    parts: [Part; 2],
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
        let polling = lag::poll_end(Arc::clone(&self.log), end);
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
        let had_some = !running.is_empty();
        running.retain(|partition, run_loop| {
            let is_kept = assigned.contains(partition);
            if !is_kept {
                tracing::info!(
                    projection = self.sink.projection().name(),
                    partition = partition.0,
                    "partition released"
                );
                run_loop.stop.cancel();
                run_loop.parts.iter().for_each(Part::ready);
                // The partition's next owner reports its lag and its dead letters.
                lag::clear(self.sink.projection(), *partition);
            }
            is_kept
        });
        if had_some && running.is_empty() {
            // Nobody here looks any more whether the projection is paused.
            lag::report_pause(self.sink.projection(), false);
        }
        for partition in assigned {
            running.entry(*partition).or_insert_with(|| self.start_run_loop(*partition, run_loops));
        }
    }

    fn start_run_loop(&self, partition: PartitionId, run_loops: &mut RunLoops) -> RunningLoop {
        let projection = self.sink.projection().name();
        tracing::info!(projection, partition = partition.0, "partition taken over");
        let feed = Feed::new(Arc::clone(&self.log), Arc::clone(&self.sink), partition);
        let parts = [self.readiness.part(projection), self.readiness.part(run_loop::PAUSED_PART)];
        let [following, paused] = parts.clone();
        let run_loop = RunLoop::new(feed, following).with_pauses(Arc::clone(&self.pauses), paused);
        let stop = CancellationToken::new();
        let running = RunningLoop { stop: stop.clone(), reached: run_loop.subscribe(), parts: parts.clone() };
        run_loops.spawn(async move {
            let ended = run_loop.run(stop.clone()).await;
            if stop.is_cancelled() {
                // Another process may own the partition now, so this one ignores the loop's failures.
                parts.iter().for_each(Part::ready);
                return Ok(());
            }
            ended
        });
        running
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
            let Some(reached) = *run_loop.reached.borrow() else {
                continue;
            };
            report(*partition, reached.next);
            lag::report(self.sink.projection(), *partition, end.bound(*partition), reached);
        }
    }
}
