//! Compares a projection with one that is made anew, and mends it on request.

use std::sync::Arc;
use std::time::Duration;

use event_log::{EventLog, OtherLog};
use events::Offset;
use read_model::{Difference, LiveGeneration, OperateGenerations, Projection};
use tokio::sync::watch;

use super::{MAX_SWAPS, Progress, Rebuild, RebuildError, Rebuilt, SWAP_PAUSE};
use crate::feed::FeedError;

/// The result of a verification.
#[derive(Debug)]
pub struct Verified {
    /// How the live generation differs from one that was made anew.
    pub differences: Vec<Difference>,
    /// What the log has in place of what the live generation was made from.
    pub other_logs: Vec<OtherLog>,
    /// The new generation, if readers use it now.
    pub rebuilt: Option<Rebuilt>,
}

/// How the live generation differs from one that was made anew.
struct Compared {
    differences: Vec<Difference>,
    other_logs: Vec<OtherLog>,
}

/// Makes `projection` anew up to the live generation's checkpoints, compares the two, and deletes the new one. If they differ and `mend`
/// says so, it makes the new one live instead, and keeps the former one for that long. What a rebuild that was stopped has made is deleted
/// first: a comparison believes nothing but the log.
///
/// A caller may drop the future at any point.
///
/// # Errors
/// [`RebuildError`].
pub async fn verify(
    log: Arc<dyn EventLog>,
    generations: Arc<dyn OperateGenerations>,
    projection: Projection,
    mend: Option<Duration>,
    progress: &watch::Sender<Progress>,
) -> Result<Verified, RebuildError> {
    let rebuild = Rebuild::begin_at_the_start(log, &*generations, projection, progress).await?;
    let verifying = async {
        let Compared { differences, other_logs } = rebuild.fill_and_compare(&*generations).await?;
        let differs = !differences.is_empty() || !other_logs.is_empty();
        let rebuilt = if mend.is_some() && differs { Some(rebuild.fill_and_swap().await?) } else { None };
        Ok(Verified { differences, other_logs, rebuilt })
    };
    let outcome = rebuild.own(verifying).await;
    match &outcome {
        Ok(Verified { rebuilt: None, .. }) => rebuild.discard().await?,
        Ok(_) => {}
        Err(error) => rebuild.leave(error).await?,
    }
    outcome
}

impl<'a> Rebuild<'a> {
    /// Begins a generation without events. One that an earlier rebuild has begun is deleted.
    async fn begin_at_the_start(
        log: Arc<dyn EventLog>,
        generations: &'a dyn OperateGenerations,
        projection: Projection,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self, RebuildError> {
        let begun = Self::begin(Arc::clone(&log), generations, projection, progress).await?;
        match begun.has_applied_events().await {
            Ok(false) => Ok(begun),
            Ok(true) => {
                begun.discard().await?;
                Self::begin(log, generations, projection, progress).await
            }
            Err(error) => {
                begun.leave(&error).await?;
                Err(error)
            }
        }
    }

    /// Whether an earlier rebuild has begun the generation.
    async fn has_applied_events(&self) -> Result<bool, RebuildError> {
        let projection = self.build.projection;
        let end = self.log.end().await.map_err(RebuildError::Log)?;
        for (partition, _) in end.bounds() {
            let checkpoint =
                self.feed(partition).checkpoint().await.map_err(|source| RebuildError::Feed { projection, source })?;
            if checkpoint.next > Offset::START {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn fill_and_compare(&self, generations: &dyn OperateGenerations) -> Result<Compared, RebuildError> {
        let projection = self.build.projection;
        for _ in 0..MAX_SWAPS {
            let live = generations.live(projection).await.map_err(RebuildError::Live)?;
            let filled = self.fill_up_to(&live.position()).await;
            filled.map_err(|source| RebuildError::Feed { projection, source })?;
            let compared = generations.compare(&self.build, self).await.map_err(RebuildError::Generations)?;
            if let Some(differences) = compared {
                return Ok(Compared { differences, other_logs: self.find_other_logs(&live).await? });
            }
            tokio::time::sleep(SWAP_PAUSE).await;
        }
        Err(RebuildError::Behind(projection))
    }

    /// Compares what the live generation knows of its log with the log. Its rows may be those of this log, and a projector would
    /// refuse to go on from them nevertheless.
    async fn find_other_logs(&self, live: &LiveGeneration) -> Result<Vec<OtherLog>, RebuildError> {
        let projection = self.build.projection;
        let end = self.log.end().await.map_err(RebuildError::Log)?;
        let mut found = Vec::new();
        for (&partition, &checkpoint) in &live.checkpoints {
            match self.feed(partition).check_log(checkpoint, end.bound(partition)).await {
                Ok(()) => {}
                Err(FeedError::OtherLog(other)) => found.push(other),
                Err(source) => return Err(RebuildError::Feed { projection, source }),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use embedded::DataDir;
    use event_log::{AppendError, LogBatch, ReadError, ReadLimit};
    use events::{PartitionId, Position, Record};
    use read_model::Generations;
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;

    /// A log whose server is away.
    struct AwayLog;

    #[async_trait]
    impl EventLog for AwayLog {
        async fn append(&self, _: Record) -> Result<Position, AppendError> {
            Err(AppendError::Closed)
        }

        async fn read(&self, _: PartitionId, _: Offset, _: ReadLimit) -> Result<LogBatch, ReadError> {
            Err(ReadError::Unavailable("away".into()))
        }

        async fn end(&self) -> Result<Position, ReadError> {
            Err(ReadError::Unavailable("away".into()))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_verification_that_fails_does_not_keep_others_waiting() {
        let directory = TempDir::new().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let projections = Arc::new(data_dir.open_projections(Uuid::nil()).unwrap());
        let progress = watch::channel(Progress::default()).0;
        let verified = verify(
            Arc::new(AwayLog),
            Arc::clone(&projections) as _,
            Projection::Views,
            Some(Duration::ZERO),
            &progress,
        );
        let failed = verified.await.unwrap_err();
        assert!(matches!(failed, RebuildError::Log(_)), "{failed}");
        projections.begin(Projection::Views).await.unwrap();
        projections.close().await.unwrap();
    }
}
