//! Partitions that are shared out among several processes: a run loop for each that this one has been given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use events::{Offset, PartitionId};
use service::health::{Part, Readiness};
use service::telemetry::chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::feed::Feed;
use crate::run_loop::RunLoop;
use crate::target::Target;

/// How often it is told how far the projection has come.
const REPORT: Duration = Duration::from_secs(5);

/// Feeds a projection from the partitions that are this process's own, as long as they are.
///
/// A partition that is taken away is let go without waiting for its batch to end: whoever has it then may meet this
/// process for a moment, and the checkpoint decides between the two.
pub struct SharedOut {
    /// Where the events come from.
    pub log: Arc<dyn EventLog>,
    /// What they are applied to.
    pub target: Target,
    /// Told how each run loop is doing.
    pub readiness: Readiness,
}

/// A run loop under way.
struct Running {
    stop: CancellationToken,
    applied: watch::Receiver<Offset>,
    part: Part,
}

impl SharedOut {
    /// Runs until `stop`, which lets the batches under way end. `reported` is told now and then how far each partition is.
    pub async fn run(
        self,
        mut owned: watch::Receiver<BTreeSet<PartitionId>>,
        reported: impl Fn(PartitionId, Offset) + Send + Sync,
        stop: CancellationToken,
    ) {
        let (tasks, mut running) = (TaskTracker::new(), BTreeMap::new());
        let mut report = tokio::time::interval(REPORT);
        loop {
            let partitions = owned.borrow_and_update().clone();
            self.change_over(&partitions, &mut running, &tasks);
            tokio::select! {
                () = stop.cancelled() => break,
                // Where nobody shares out any more, what is owned is kept.
                Ok(()) = owned.changed() => {}
                _ = report.tick() => self.report(&running, &reported).await,
            }
        }
        running.into_values().for_each(|one: Running| one.stop.cancel());
        tasks.close();
        tasks.wait().await;
    }

    /// Ends the loops of partitions that were taken away, and begins those of new ones.
    fn change_over(
        &self,
        owned: &BTreeSet<PartitionId>,
        running: &mut BTreeMap<PartitionId, Running>,
        tasks: &TaskTracker,
    ) {
        running.retain(|partition, one| {
            let is_kept = owned.contains(partition);
            if !is_kept {
                tracing::info!(projection = self.target.projection().name(), partition = partition.0, "let go");
                one.stop.cancel();
                one.part.ready();
            }
            is_kept
        });
        for partition in owned {
            running.entry(*partition).or_insert_with(|| self.begin(*partition, tasks));
        }
    }

    fn begin(&self, partition: PartitionId, tasks: &TaskTracker) -> Running {
        let projection = self.target.projection().name();
        tracing::info!(projection, partition = partition.0, "taken over");
        let feed = Feed { log: Arc::clone(&self.log), target: self.target.clone(), partition };
        let part = self.readiness.part(projection);
        let run_loop = RunLoop::new(feed, part.clone());
        let (stop, applied) = (CancellationToken::new(), run_loop.applied());
        tasks.spawn({
            let stop = stop.clone();
            let part = part.clone();
            async move {
                match run_loop.run(stop).await {
                    // What kept it from being ready is no longer this process's.
                    Ok(()) => part.ready(),
                    Err(stopped) => {
                        tracing::error!(error = %chain(&stopped), "a projection has stopped in one partition");
                    }
                }
            }
        });
        Running { stop, applied, part }
    }

    /// Tells how far each partition is, and how far it is behind the log.
    async fn report(&self, running: &BTreeMap<PartitionId, Running>, reported: impl Fn(PartitionId, Offset)) {
        let projection = self.target.projection().name();
        let end = match self.log.end().await {
            Ok(end) => end,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "how far a projection is behind cannot be told now");
                return;
            }
        };
        for (partition, one) in running {
            let applied = *one.applied.borrow();
            reported(*partition, applied);
            let labels = [("projection", projection.to_owned()), ("partition", partition.to_string())];
            let lag = end.bound(*partition).0.saturating_sub(applied.0);
            // Counts of events stay far below what a 64-bit float tells apart.
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("tally_projection_lag_events", &labels).set(lag as f64);
        }
    }
}
