//! The one loop that reads a partition of the log and applies it to a projection, batch by batch.

use std::time::Duration;

use event_log::{BackendError, ReadError};
use events::{Offset, PartitionId};
use read_model::Checkpoint;
use service::health::Part;
use service::telemetry::chain;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::feed::{Feed, FeedError};
use crate::target::ApplyError;

/// Pause after a batch that was not full: a batch costs more than its events do, so that those which come meanwhile share
/// the next one. An event that comes after a quiet moment is applied at once.
const GATHER: Duration = Duration::from_millis(10);
/// Longest wait for a next event; then the log is asked again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause. Failures of a backend are tried for as long as it is away, at this pace.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Feeds one projection from one partition.
pub struct RunLoop {
    feed: Feed,
    part: Part,
    applied: watch::Sender<Option<Offset>>,
}

/// Run loops under way. Dropping them cuts them off wherever they are, which harms nothing: a batch is applied with its
/// checkpoint or not at all.
pub type RunLoops = JoinSet<Result<(), Stopped>>;

/// Why a run loop ended for good: somebody must do something.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// What comes after the checkpoint is not in this log.
    #[error("the projection {projection} is somewhere that the log is not")]
    NotInLog {
        /// Which projection.
        projection: &'static str,
        /// What the log says.
        #[source]
        source: ReadError,
    },
    /// The log has something of a newer version.
    #[error("the projection {projection} cannot go on in partition {partition}")]
    Newer {
        /// Which projection.
        projection: &'static str,
        /// In which partition.
        partition: PartitionId,
        /// What is newer.
        #[source]
        source: BackendError,
    },
}

/// Why no run loop of this process can be relied on: it has to end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log is not the one that the projection was made from.
    #[error(transparent)]
    NotInLog(Stopped),
    /// A run loop ended in the middle of its work, which is a mistake in this program. Its partition would stand still,
    /// and nobody would be told.
    #[error("a run loop has panicked, as the log tells above; please report it")]
    Panicked(#[source] JoinError),
}

/// Waits for an end of one of these run loops after which the process must end, too; for ever, if there is none.
pub async fn fatal(run_loops: &mut RunLoops) -> Fatal {
    while let Some(ended) = run_loops.join_next().await {
        if let Err(fatal) = outcome(ended) {
            return fatal;
        }
    }
    std::future::pending().await
}

/// Waits until these run loops, which have been told to stop, are at their ends.
///
/// # Errors
/// [`Fatal`] is the first end that was no good one.
pub async fn ended(mut run_loops: RunLoops) -> Result<(), Fatal> {
    let mut first = Ok(());
    while let Some(ended) = run_loops.join_next().await {
        first = first.and(outcome(ended));
    }
    first
}

/// What the end of a run loop means for the process.
fn outcome(ended: Result<Result<(), Stopped>, JoinError>) -> Result<(), Fatal> {
    match ended {
        Ok(Ok(())) => Ok(()),
        // Others than this one partition go on, and readiness says which does not.
        Ok(Err(stopped @ Stopped::Newer { .. })) => {
            tracing::error!(error = %chain(&stopped), "a projection has stopped in one partition");
            Ok(())
        }
        Ok(Err(stopped @ Stopped::NotInLog { .. })) => Err(Fatal::NotInLog(stopped)),
        Err(error) => Err(Fatal::Panicked(error)),
    }
}

enum Failure {
    ForGood(Stopped),
    ForNow(Box<dyn std::error::Error + Send + Sync>),
}

impl RunLoop {
    /// For a projection and a partition. `part` is told when the projection has caught up with where the log ended at the
    /// start, and when it fails.
    pub fn new(feed: Feed, part: Part) -> Self {
        Self { feed, part, applied: watch::Sender::new(None) }
    }

    /// How far it has come; `None` before it knows.
    pub fn applied(&self) -> watch::Receiver<Option<Offset>> {
        self.applied.subscribe()
    }

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
                    tracing::warn!(projection = self.feed.target.projection().name(), %reason, "trying again");
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
        let (mut checkpoint, mut goal) = self.begin().await?;
        let mut is_in_log = checkpoint.next <= goal;
        loop {
            self.applied.send_replace(Some(checkpoint.next));
            if is_in_log && checkpoint.next >= goal {
                self.part.ready();
            }
            let log_batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                log_batch = self.feed.read(checkpoint.next, READ_WAIT) => log_batch.map_err(|error| self.failure(error))?,
            };
            is_in_log = true;
            let is_full = self.feed.is_full(&log_batch);
            let next = self.feed.apply(checkpoint, log_batch).await.map_err(|error| self.failure(error))?;
            // A projection that was lost begins anew.
            (checkpoint, goal) = if next.next < checkpoint.next { self.begin().await? } else { (next, goal) };
            *pause = FIRST_PAUSE;
            if !is_full {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
    }

    /// Where the projection is, and where it must come to be caught up.
    async fn begin(&self) -> Result<(Checkpoint, Offset), Failure> {
        let checkpoint = self.feed.checkpoint().await.map_err(|error| self.failure(error))?;
        // Asked for afterwards: a checkpoint beyond this end is not in the log.
        let goal = self.feed.end().await.map_err(|error| self.failure(error))?;
        if checkpoint.next < goal {
            self.part.failed(format!("catching up from {} to {goal}", checkpoint.next));
        }
        Ok((checkpoint, goal))
    }

    /// Whether a failure goes by on its own.
    fn failure(&self, error: FeedError) -> Failure {
        let (projection, partition) = (self.feed.target.projection().name(), self.feed.partition);
        match error {
            FeedError::Read(source @ (ReadError::BeyondEnd { .. } | ReadError::Truncated { .. })) => {
                Failure::ForGood(Stopped::NotInLog { projection, source })
            }
            FeedError::Read(source @ ReadError::Newer { .. }) => {
                Failure::ForGood(Stopped::Newer { projection, partition, source: source.into() })
            }
            FeedError::Apply(ApplyError::Newer(source)) => {
                Failure::ForGood(Stopped::Newer { projection, partition, source: source.into() })
            }
            other => Failure::ForNow(Box::new(other)),
        }
    }
}
