//! Where the log ends, asked once for everybody who wants to know at the moment.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, ReadError};
use events::Position;
use tokio::time::Instant;

use crate::coalesce::Coalescer;

/// The ends of a log. One is read at a time, and each answer was read after it was asked for: an append that was answered
/// before the asking lies before that end.
pub(super) struct Barrier {
    log: Arc<dyn EventLog>,
    readings: Coalescer<Result<Position, Arc<ReadError>>>,
}

impl Barrier {
    pub(super) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, readings: Coalescer::new(Duration::ZERO) }
    }

    /// The end of every partition, at some moment after this call and before its answer.
    pub(super) async fn end(&self) -> Result<Position, Arc<ReadError>> {
        let began = Instant::now();
        let end = self.readings.join(async || self.log.end().await.map_err(Arc::new)).await;
        metrics::histogram!("tally_numbers_barrier_wait_seconds").record(began.elapsed());
        end
    }
}
