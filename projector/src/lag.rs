//! Metrics of projections: how far they are behind the log, whether they are paused, and their dead letters.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_log::{EventLog, LogBatch};
use events::{Offset, PartitionId, Position, UnixMillis};
use metrics::Gauge;
use read_model::Projection;
use thiserror_ext::AsReport;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

const LOG_END: &str = "tally_log_end";
const POSITION: &str = "tally_projection_position";
const LAG_EVENTS: &str = "tally_projection_lag_events";
const LAG_SECONDS: &str = "tally_projection_lag_seconds";
const PAUSED: &str = "tally_projection_paused";
const LETTERS: &str = "tally_dead_letters";

/// Says what the metrics mean to whoever reads them.
fn describe() {
    metrics::describe_gauge!(LOG_END, "Offset at which the log ends.");
    metrics::describe_gauge!(POSITION, "Offset of the next record that the projection applies.");
    metrics::describe_gauge!(LAG_EVENTS, "Records of the log that the projection has not applied.");
    metrics::describe_gauge!(LAG_SECONDS, "Age of the oldest event that the projection has not applied.");
    metrics::describe_gauge!(PAUSED, "Whether an operator has paused the projection.");
    metrics::describe_gauge!(LETTERS, "Records of the log that no view shows and no operator has discarded.");
}

/// How far a run loop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The offset of the next record that the projection applies.
    pub next: Offset,
    /// When the first event from there on was written, if the loop has read it.
    pub waiting_since: Option<UnixMillis>,
}

/// Receives how far a run loop has come; `None` until it has read its checkpoint.
pub type ReachedReceiver = watch::Receiver<Option<Reached>>;

impl Reached {
    /// Before a batch is applied that begins there.
    pub(crate) fn before(log_batch: &LogBatch, next: Offset) -> Self {
        Self { next, waiting_since: log_batch.events.first().map(|event| event.record.occurred_at) }
    }
}

/// Reads the log's end every 5 s and publishes it.
pub(crate) async fn poll_end(log: Arc<dyn EventLog>, published: watch::Sender<Position>) -> Infallible {
    describe();
    let mut interval = tokio::time::interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match log.end().await {
            Ok(end) => {
                report_end(&end);
                drop(published.send_replace(end));
            }
            Err(error) => {
                tracing::debug!(error = %error.as_report(), "the lag of a projection is unknown: the log's end cannot be read");
            }
        }
    }
}

/// Reports the lag of run loops every 5 s, until the future is dropped.
pub async fn report_all(
    log: Arc<dyn EventLog>,
    run_loops: &[(Projection, PartitionId, ReachedReceiver)],
) -> Infallible {
    let (end, mut ends) = watch::channel(Position::default());
    let reporting = async {
        loop {
            if ends.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let end = ends.borrow_and_update().clone();
            for (projection, partition, reached) in run_loops {
                if let Some(reached) = *reached.borrow() {
                    report(*projection, *partition, end.bound(*partition), reached);
                }
            }
        }
    };
    tokio::select! {
        never = poll_end(log, end) => never,
        never = reporting => never,
    }
}

/// The time since a moment, by this machine's clock; 0 for one that is still to come.
pub(crate) fn age_seconds(moment: UnixMillis) -> f64 {
    let moment = UNIX_EPOCH + Duration::from_millis(moment.0);
    SystemTime::now().duration_since(moment).unwrap_or_default().as_secs_f64()
}

/// Sets where the log ends.
fn report_end(end: &Position) {
    for (partition, end) in end.bounds() {
        metrics::gauge!(LOG_END, "partition" => partition.to_string()).set(end.0 as f64);
    }
}

/// Sets the lag of a projection in one partition, which ends at `end`.
pub(crate) fn report(projection: Projection, partition: PartitionId, end: Offset, reached: Reached) {
    let lag = end.0.saturating_sub(reached.next.0);
    // What the loop has not read yet has come just now.
    let seconds = reached.waiting_since.filter(|_| lag > 0).map_or(0.0, age_seconds);
    // A 64-bit float holds every count of events exactly that can occur.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    events_gauge(projection, partition).set(lag as f64);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    position_gauge(projection, partition).set(reached.next.0 as f64);
    seconds_gauge(projection, partition).set(seconds);
}

/// Reports no lag and no dead letters any more: another process owns the partition.
pub(crate) fn clear(projection: Projection, partition: PartitionId) {
    events_gauge(projection, partition).set(0.0);
    seconds_gauge(projection, partition).set(0.0);
    // Only `views` keeps dead letters.
    if projection == Projection::Views {
        report_letters(partition, 0);
    }
}

/// Sets the number of dead letters in a partition.
pub(crate) fn report_letters(partition: PartitionId, count: u64) {
    // A count is far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    metrics::gauge!(LETTERS, "partition" => partition.to_string()).set(count as f64);
}

/// Reports whether a projection is paused.
pub(crate) fn report_pause(projection: Projection, is_paused: bool) {
    let paused = metrics::gauge!(PAUSED, "projection" => projection.name());
    paused.set(if is_paused { 1.0 } else { 0.0 });
}

fn events_gauge(projection: Projection, partition: PartitionId) -> Gauge {
    let (projection, partition) = (projection.name(), partition.to_string());
    metrics::gauge!(LAG_EVENTS, "projection" => projection, "partition" => partition)
}

/// The offset of the next record that the projection applies.
fn position_gauge(projection: Projection, partition: PartitionId) -> Gauge {
    let (projection, partition) = (projection.name(), partition.to_string());
    metrics::gauge!(POSITION, "projection" => projection, "partition" => partition)
}

fn seconds_gauge(projection: Projection, partition: PartitionId) -> Gauge {
    let (projection, partition) = (projection.name(), partition.to_string());
    metrics::gauge!(LAG_SECONDS, "projection" => projection, "partition" => partition)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn render(end: u64, reached: Reached) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            report(Projection::Views, PartitionId(3), Offset(end), reached);
            report_pause(Projection::Views, true);
        });
        recorder.handle().render()
    }

    fn seconds(metrics: &str) -> f64 {
        let line = metrics.lines().find(|line| line.starts_with("tally_projection_lag_seconds{")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_event_that_is_not_applied() {
        let an_hour_after_1970 = UnixMillis(3_600_000);
        let behind = render(9, Reached { next: Offset(4), waiting_since: Some(an_hour_after_1970) });
        assert!(behind.contains("tally_projection_lag_events{projection=\"views\",partition=\"3\"} 5"), "{behind}");
        assert!(behind.contains("tally_projection_position{projection=\"views\",partition=\"3\"} 4"), "{behind}");
        assert!(seconds(&behind) > 1_000_000_000.0, "{behind}");
        assert!(behind.contains("tally_projection_paused{projection=\"views\"} 1"), "{behind}");
        let caught_up = render(4, Reached { next: Offset(4), waiting_since: Some(an_hour_after_1970) });
        assert_eq!(seconds(&caught_up), 0.0, "{caught_up}");
    }
}
