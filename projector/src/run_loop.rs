//! The one loop that reads a partition of the log and applies it to a projection, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, ReadError, ReadLimit};
use events::{DecodeError, PartitionId};
use read_model::{Applied, Step};
use service::health::Part;
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;

use crate::target::{ApplyError, Target};

/// Longest wait for a next event; then the log is asked again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause. Failures of a backend are tried for as long as it is away, at this pace.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Feeds one projection from one partition.
pub struct RunLoop {
    /// Where the events come from.
    pub log: Arc<dyn EventLog>,
    /// What they are applied to.
    pub target: Target,
    /// The partition.
    pub partition: PartitionId,
    /// Told when the projection has caught up with where the log ended at the start, and when it fails.
    pub part: Part,
}

/// Why a run loop ended for good: somebody must do something.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The checkpoint is not in this log.
    #[error("the projection {projection} has applied more than the log has")]
    AheadOfLog {
        /// Which projection.
        projection: &'static str,
        /// What the log says.
        #[source]
        source: ReadError,
    },
    /// The log has an event of a newer version.
    #[error("the projection {projection} cannot go on in partition {partition}")]
    Newer {
        /// Which projection.
        projection: &'static str,
        /// In which partition.
        partition: PartitionId,
        /// Which event.
        #[source]
        source: DecodeError,
    },
}

enum Failure {
    ForGood(Stopped),
    ForNow(Box<dyn std::error::Error + Send + Sync>),
}

impl RunLoop {
    /// Runs until `stop`, which lets the batch under way end.
    ///
    /// # Errors
    /// [`Stopped`] if it cannot go on; the part has been told.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Stopped> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow(&stop, &mut pause).await {
                Ok(()) => return Ok(()),
                Err(Failure::ForGood(stopped)) => {
                    self.part.failed(chain(&stopped));
                    return Err(stopped);
                }
                Err(Failure::ForNow(error)) => {
                    let reason = chain(error.as_ref());
                    tracing::warn!(projection = self.target.projection().name(), %reason, "trying again");
                    self.part.failed(reason);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => pause = LONGEST_PAUSE.min(2 * pause),
            }
        }
    }

    /// Reads on from the checkpoint until `stop` or a failure.
    async fn follow(&self, stop: &CancellationToken, pause: &mut Duration) -> Result<(), Failure> {
        let limit = ReadLimit { records: self.target.batch_size(), wait: READ_WAIT };
        let goal = self.log.end().await.map_err(|error| self.read_failure(error))?.bound(self.partition);
        let mut next = self.target.checkpoint(self.partition).await.map_err(|error| self.apply_failure(error))?;
        if next < goal {
            self.part.failed(format!("catching up from {next} to {goal}"));
        }
        loop {
            if next >= goal {
                self.part.ready();
            }
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                batch = self.log.read(self.partition, next, limit) => batch.map_err(|error| self.read_failure(error))?,
            };
            let Some(last) = batch.last() else {
                continue;
            };
            let step = Step { partition: self.partition, from: next, to: last.offset.next() };
            next = match self.target.apply(step, &batch).await.map_err(|error| self.apply_failure(error))? {
                Applied::Done => step.to,
                Applied::Superseded => {
                    self.target.checkpoint(self.partition).await.map_err(|error| self.apply_failure(error))?
                }
            };
            *pause = FIRST_PAUSE;
        }
    }

    fn read_failure(&self, error: ReadError) -> Failure {
        let projection = self.target.projection().name();
        match error {
            source @ ReadError::BeyondEnd { .. } => Failure::ForGood(Stopped::AheadOfLog { projection, source }),
            other => Failure::ForNow(Box::new(other)),
        }
    }

    fn apply_failure(&self, error: ApplyError) -> Failure {
        let (projection, partition) = (self.target.projection().name(), self.partition);
        match error {
            ApplyError::Newer(source) => Failure::ForGood(Stopped::Newer { projection, partition, source }),
            other => Failure::ForNow(Box::new(other)),
        }
    }
}
