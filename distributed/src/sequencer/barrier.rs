//! Reads the log's end, once for all callers that need it at the same time.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, ReadError};
use events::Position;
use tokio::time::Instant;

use super::metric_definitions::BARRIER_WAIT_SECONDS;
use crate::coalesce::Coalescer;

/// The end of a log, as a barrier: an append that was acknowledged before a call lies before the end that the call
/// returns.
pub(super) struct Barrier {
    log: Arc<dyn EventLog>,
    reads: Coalescer<Result<Position, Arc<ReadError>>>,
}

impl Barrier {
    pub(super) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, reads: Coalescer::new(Duration::ZERO) }
    }

    /// Returns the end of every partition. The read begins after this call does.
    pub(super) async fn read_end(&self) -> Result<Position, Arc<ReadError>> {
        let began_at = Instant::now();
        let end = self.reads.run(async || self.log.end().await.map_err(Arc::new)).await;
        metrics::histogram!(BARRIER_WAIT_SECONDS).record(began_at.elapsed());
        end
    }
}
