//! Partitions that are shared out among several processes: a run loop for each that this one has been given.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use events::{Offset, PartitionId, Position};
use metrics::Gauge;
use service::health::{Part, Readiness};
use service::telemetry::chain;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::run_loop::{self, Fatal, RunLoop, RunLoops};
use crate::target::Target;

/// How often it is told how far the projection has come.
const REPORT: Duration = Duration::from_secs(5);

/// Feeds a projection from the partitions that are this process's own, as long as they are.
///
/// A partition that is taken away is let go without waiting for its batch to end: whoever has it then may meet this
/// process for a moment, and the checkpoint decides between the two.
pub struct AssignedPartitions {
    /// Where the events come from.
    pub log: Arc<dyn EventLog>,
    /// What they are applied to.
    pub target: Target,
    /// Ready once it is known which partitions are this process's own.
    pub part: Part,
    /// Told how each run loop is doing.
    pub readiness: Readiness,
}

/// A run loop under way.
struct Running {
    stop: CancellationToken,
    applied: watch::Receiver<Option<Offset>>,
    part: Part,
}

impl AssignedPartitions {
    /// Runs until `stop`, which lets the batches under way end. `owned` is `None` until it is known which partitions are
    /// this process's own; `reported` is told now and then how far each is. Dropping it cuts off everything.
    ///
    /// # Errors
    /// [`Fatal`], after which this process is of no use.
    pub async fn run(
        self,
        mut owned: watch::Receiver<Option<BTreeSet<PartitionId>>>,
        reported: impl Fn(PartitionId, Offset) + Send + Sync,
        stop: CancellationToken,
    ) -> Result<(), Fatal> {
        let (mut run_loops, mut running) = (RunLoops::new(), BTreeMap::new());
        let (end, mut ends) = watch::channel(Position::default());
        let asking = self.ask_for_ends(&end);
        tokio::pin!(asking);
        let first = loop {
            if let Some(partitions) = &*owned.borrow_and_update() {
                self.change_over(partitions, &mut running, &mut run_loops);
                self.part.ready();
            }
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                fatal = run_loop::fatal(&mut run_loops) => break Err(fatal),
                // Where nobody shares out any more, what is owned is kept.
                Ok(()) = owned.changed() => {}
                Ok(()) = ends.changed() => self.report(&ends.borrow_and_update(), &running, &reported),
                never = &mut asking => match never {},
            }
        };
        running.into_values().for_each(|one: Running| one.stop.cancel());
        first.and(run_loop::ended(run_loops).await)
    }

    /// Ends the loops of partitions that were taken away, and begins those of new ones.
    fn change_over(
        &self,
        owned: &BTreeSet<PartitionId>,
        running: &mut BTreeMap<PartitionId, Running>,
        run_loops: &mut RunLoops,
    ) {
        running.retain(|partition, one| {
            let is_kept = owned.contains(partition);
            if !is_kept {
                tracing::info!(projection = self.target.projection().name(), partition = partition.0, "let go");
                one.stop.cancel();
                one.part.ready();
                // Whoever has it now tells how far it is behind.
                self.lag(*partition).set(0.0);
            }
            is_kept
        });
        for partition in owned {
            running.entry(*partition).or_insert_with(|| self.begin(*partition, run_loops));
        }
    }

    fn begin(&self, partition: PartitionId, run_loops: &mut RunLoops) -> Running {
        let projection = self.target.projection().name();
        tracing::info!(projection, partition = partition.0, "taken over");
        let feed = Feed { log: Arc::clone(&self.log), target: self.target.clone(), partition };
        let part = self.readiness.part(projection);
        let run_loop = RunLoop::new(feed, part.clone());
        let running = Running { stop: CancellationToken::new(), applied: run_loop.applied(), part: part.clone() };
        let stop = running.stop.clone();
        run_loops.spawn(async move {
            let ended = run_loop.run(stop.clone()).await;
            if stop.is_cancelled() {
                // What kept it from being ready, or from going on, is no longer this process's.
                part.ready();
                return Ok(());
            }
            ended
        });
        running
    }

    /// Asks the log now and then for its end. Beside everything else: the log may take its time.
    async fn ask_for_ends(&self, told: &watch::Sender<Position>) -> Infallible {
        let mut report = tokio::time::interval(REPORT);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            report.tick().await;
            match self.log.end().await {
                Ok(end) => drop(told.send_replace(end)),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "how far a projection is behind cannot be told now");
                }
            }
        }
    }

    /// Tells how far each partition is, and how far it is behind the log. Nothing is told of one that does not know yet.
    fn report(&self, end: &Position, running: &BTreeMap<PartitionId, Running>, reported: impl Fn(PartitionId, Offset)) {
        for (partition, one) in running {
            let Some(applied) = *one.applied.borrow() else {
                continue;
            };
            reported(*partition, applied);
            let lag = end.bound(*partition).0.saturating_sub(applied.0);
            // Counts of events stay far below what a 64-bit float tells apart.
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            self.lag(*partition).set(lag as f64);
        }
    }

    fn lag(&self, partition: PartitionId) -> Gauge {
        let projection = self.target.projection().name();
        metrics::gauge!("tally_projection_lag_events", "projection" => projection, "partition" => partition.to_string())
    }
}
