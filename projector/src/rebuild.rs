//! Makes a projection anew from the log, beside the live one, and swaps the two.

mod verification;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::Retryable;
use event_log::{EventLog, ReadError};
use events::{Offset, PartitionId, Position};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use read_model::{
    BackendError, Build, CatchUp, DeadLetter, GenerationNumber, Generations, GenerationsError, LiveError, Projection,
    Swap,
};
use thiserror_ext::AsReport;
use tokio::sync::watch;

use crate::feed::{Feed, FeedError};
use crate::retries::PAUSES;
use crate::sink::{ProjectionSink, make_sink};

pub use self::verification::{Verified, verify};

/// Partitions that are read at the same time.
const CONCURRENT_PARTITIONS: usize = 4;
/// Attempts to swap. After each one the new generation catches up again, so that it has less left to pass.
const MAX_SWAPS: u32 = 60;
/// Pause after an attempt to swap, in which the writers that waited for it go on.
const SWAP_PAUSE: Duration = Duration::from_millis(250);
/// Attempts to swap in a row that a server may fail, for example by a connection that it closes.
const MAX_FAILED_SWAPS: u32 = 5;
/// Time between two renewals of the lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// Dead letters that an error names.
const NAMED_DEAD_LETTERS: u32 = 3;

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Offsets that the new generation has passed, in all partitions.
    pub applied: u64,
    /// The end of the log, in all partitions.
    pub end: u64,
}

/// A projection that was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The projection.
    pub projection: Projection,
    /// Its live generation.
    pub generation: GenerationNumber,
    /// Offsets of the log that it has passed, in all partitions.
    pub events: u64,
}

/// Why a projection could not be made anew. The live generation is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The generation could not be begun, swapped or deleted.
    #[error(transparent)]
    Generations(GenerationsError),
    /// The live generation could not be read, for a comparison.
    #[error(transparent)]
    Live(LiveError),
    /// The log could not be read.
    #[error("the end of the log cannot be read")]
    Log(#[source] ReadError),
    /// Events could not be read or applied.
    #[error("{} could not be made anew from the log; the live one stays as it is", .projection.name())]
    Feed {
        /// The projection.
        projection: Projection,
        /// The failure.
        #[source]
        source: FeedError,
    },
    /// The new generation cannot show what the live one shows.
    #[error("{} cannot show events that it shows now, so it stays as it is: {}", .projection.name(), describe(.letters))]
    DeadLetters {
        /// The projection.
        projection: Projection,
        /// Some of the events.
        letters: Vec<DeadLetter>,
    },
    /// Writers are faster than the rebuild.
    #[error(
        "the log grew faster than the new {} could follow, {MAX_SWAPS} times; try again when there are fewer writes: it goes on where \
         it was", .0.name()
    )]
    Behind(Projection),
}

impl RebuildError {
    /// Whether going on with the generation cannot help: it hides what the live one shows, or was made from another log.
    const fn is_in_vain(&self) -> bool {
        match self {
            Self::DeadLetters { .. } => true,
            Self::Feed { source, .. } => {
                matches!(source, FeedError::Read(ReadError::BeyondEnd { .. }) | FeedError::OtherLog(_))
            }
            _ => false,
        }
    }
}

fn describe(letters: &[DeadLetter]) -> String {
    let described: Vec<_> =
        letters.iter().map(|letter| format!("offset {}: {}", letter.source.offset, letter.reason)).collect();
    described.join("; ")
}

/// Makes `projection` anew and reports to `progress`. Goes on where an earlier rebuild was stopped. Readers use the live generation
/// until the new one has passed it. Keeps the former one for `keep`, for readers that still use it.
///
/// A caller may drop the future at any point.
///
/// # Errors
/// [`RebuildError`]. A generation that would show less than the live one, or that the log does not contain, is deleted. Any other is
/// kept for the next attempt. A paused projection is not made anew.
pub async fn rebuild(
    log: Arc<dyn EventLog>,
    generations: Arc<dyn Generations>,
    projection: Projection,
    keep: Duration,
    progress: &watch::Sender<Progress>,
) -> Result<Rebuilt, RebuildError> {
    let rebuild = Rebuild::begin(log, &*generations, projection, progress).await?;
    let outcome = rebuild.own(rebuild.fill_and_swap()).await;
    if let Err(error) = &outcome {
        rebuild.leave(error).await?;
    }
    let rebuilt = outcome?;
    // The rebuild is done. The next one deletes what this one could not.
    if let Err(error) = generations.delete_former(projection, keep).await {
        tracing::warn!(error = %error.as_report(), "what readers used before could not be deleted; the next rebuild tries again");
    }
    Ok(rebuilt)
}

/// A rebuild that runs.
struct Rebuild<'a> {
    log: Arc<dyn EventLog>,
    generations: &'a dyn Generations,
    sink: Arc<dyn ProjectionSink>,
    build: Build,
    progress: &'a watch::Sender<Progress>,
}

impl<'a> Rebuild<'a> {
    async fn begin(
        log: Arc<dyn EventLog>,
        generations: &'a dyn Generations,
        projection: Projection,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self, RebuildError> {
        let build = generations.begin(projection).await.map_err(RebuildError::Generations)?;
        let sink = make_sink(projection, generations.writer(&build).map_err(RebuildError::Generations)?);
        Ok(Self { log, generations, sink, build, progress })
    }

    fn feed(&self, partition: PartitionId) -> Feed {
        Feed::new(Arc::clone(&self.log), Arc::clone(&self.sink), partition)
    }

    /// Runs `work` for as long as this process owns the generation.
    async fn own<T>(&self, work: impl Future<Output = Result<T, RebuildError>>) -> Result<T, RebuildError> {
        tokio::select! {
            outcome = work => outcome,
            error = self.keep_lease() => Err(error),
        }
    }

    /// Deletes the generation if going on with it is in vain, or else leaves it to the next rebuild.
    async fn leave(&self, error: &RebuildError) -> Result<(), RebuildError> {
        if error.is_in_vain() {
            return self.discard().await;
        }
        self.generations.release(&self.build).await;
        Ok(())
    }

    /// Deletes the generation. If that fails, the next rebuild need not wait for the end of the lease.
    async fn discard(&self) -> Result<(), RebuildError> {
        let discarded = self.generations.discard(&self.build).await;
        if discarded.is_err() {
            self.generations.release(&self.build).await;
        }
        discarded.map_err(RebuildError::Generations)
    }

    /// Renews the lease until another process owns the generation. A renewal that fails for another reason, such as a lock that a
    /// batch of this rebuild holds, is tried again: no batch is applied without the lease, and no swap is made.
    async fn keep_lease(&self) -> RebuildError {
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            match self.generations.renew(&self.build).await {
                Ok(()) => {}
                Err(error @ GenerationsError::Lost(_)) => return RebuildError::Generations(error),
                Err(error) => {
                    tracing::warn!(error = %error.as_report(), "the lease could not be renewed; trying again");
                }
            }
        }
    }

    async fn fill_and_swap(&self) -> Result<Rebuilt, RebuildError> {
        let projection = self.build.projection;
        let mut failed_swaps = 0;
        for _ in 0..MAX_SWAPS {
            let end = self.log.end().await.map_err(RebuildError::Log)?;
            self.fill_up_to(&end).await.map_err(|source| RebuildError::Feed { projection, source })?;
            let letters = self.generations.new_dead_letters(&self.build, NAMED_DEAD_LETTERS).await;
            let letters = letters.map_err(RebuildError::Generations)?;
            if !letters.is_empty() {
                return Err(RebuildError::DeadLetters { projection, letters });
            }
            match self.generations.swap(&self.build, &UpToTheEnd(self)).await {
                Ok(Swap::Done) => {
                    let events = end.bounds().map(|(_, end)| end.0).sum();
                    return Ok(Rebuilt { projection, generation: self.build.generation, events });
                }
                Ok(Swap::Behind) => failed_swaps = 0,
                Err(error @ GenerationsError::Swap { .. }) if failed_swaps < MAX_FAILED_SWAPS => {
                    failed_swaps += 1;
                    tracing::warn!(error = %error.as_report(), "trying again");
                }
                Err(error) => return Err(RebuildError::Generations(error)),
            }
            tokio::time::sleep(SWAP_PAUSE).await;
        }
        Err(RebuildError::Behind(projection))
    }

    async fn fill_up_to(&self, goal: &Position) -> Result<(), FeedError> {
        let end: u64 = goal.bounds().map(|(_, end)| end.0).sum();
        self.progress.send_replace(Progress { applied: 0, end });
        let goals: Vec<_> = goal.bounds().collect();
        let feeds = goals
            .into_iter()
            .map(|(partition, goal)| async move { self.fill_partition(&self.feed(partition), goal).await });
        stream::iter(feeds).buffer_unordered(CONCURRENT_PARTITIONS).try_collect().await
    }

    async fn fill_partition(&self, feed: &Feed, goal: Offset) -> Result<(), FeedError> {
        let counted = AtomicU64::new(Offset::START.0);
        let count = |next: Offset| {
            let applied = next.0.saturating_sub(counted.swap(next.0, Ordering::Relaxed));
            self.progress.send_modify(|progress| progress.applied += applied);
        };
        let attempt = async || {
            let (checkpoint, end) = (feed.checkpoint().await?, feed.end().await?);
            check_is_in_log(feed.partition, checkpoint.next, end).map_err(FeedError::Read)?;
            feed.check_log(checkpoint, end).await?;
            count(checkpoint.next);
            feed.catch_up(goal, &count).await
        };
        let warn = |error: &FeedError, _| tracing::warn!(error = %error.as_report(), "trying again");
        attempt.retry(PAUSES).when(|error| !error.is_lasting()).notify(warn).await
    }
}

/// Checks a checkpoint against an end of the log that was read later.
fn check_is_in_log(partition: PartitionId, next: Offset, end: Offset) -> Result<(), ReadError> {
    if next <= end { Ok(()) } else { Err(ReadError::BeyondEnd { partition, from: next, end }) }
}

#[async_trait]
impl CatchUp for Rebuild<'_> {
    async fn catch_up(&self, position: &Position) -> Result<(), BackendError> {
        for (partition, goal) in position.bounds() {
            self.feed(partition).catch_up(goal, |_| {}).await?;
        }
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        let end = self.log.end().await?;
        self.catch_up(&end).await
    }
}

/// Catches up with all of the log, for a swap: readers of an index may have found messages that its checkpoint does not cover yet.
struct UpToTheEnd<'a>(&'a Rebuild<'a>);

#[async_trait]
impl CatchUp for UpToTheEnd<'_> {
    async fn catch_up(&self, position: &Position) -> Result<(), BackendError> {
        let end = self.0.log.end().await?;
        for (partition, next) in position.bounds() {
            check_is_in_log(partition, next, end.bound(partition))?;
        }
        self.0.catch_up(&end).await
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        self.0.catch_up_to_end().await
    }
}
