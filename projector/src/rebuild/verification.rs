//! Compares a projection with one that is made anew, and mends it on request.

use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use events::Offset;
use read_model::{Difference, OperateGenerations, Projection};
use tokio::sync::watch;

use super::{MAX_SWAPS, Progress, Rebuild, RebuildError, Rebuilt, SWAP_PAUSE};

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How the live generation differs from one that was made anew.
    pub differences: Vec<Difference>,
    /// The new generation, if readers use it now.
    pub rebuilt: Option<Rebuilt>,
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
    let mut rebuild = Rebuild::begin(Arc::clone(&log), &*generations, projection, progress).await?;
    if rebuild.has_applied_events().await? {
        rebuild.discard().await?;
        rebuild = Rebuild::begin(log, &*generations, projection, progress).await?;
    }
    let verifying = async {
        let differences = rebuild.fill_and_compare(&*generations).await?;
        let is_mended = mend.is_some() && !differences.is_empty();
        let rebuilt = if is_mended { Some(rebuild.fill_and_swap().await?) } else { None };
        Ok(Verified { differences, rebuilt })
    };
    let outcome = rebuild.own(verifying).await;
    match &outcome {
        Ok(Verified { rebuilt: None, .. }) => rebuild.discard().await?,
        Ok(_) => {}
        Err(error) => rebuild.leave(error).await?,
    }
    outcome
}

impl Rebuild<'_> {
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

    async fn fill_and_compare(&self, generations: &dyn OperateGenerations) -> Result<Vec<Difference>, RebuildError> {
        let projection = self.build.projection;
        for _ in 0..MAX_SWAPS {
            let goal = generations.live(projection).await.map_err(RebuildError::Live)?.position;
            self.fill_up_to(&goal).await.map_err(|source| RebuildError::Feed { projection, source })?;
            let compared = generations.compare(&self.build, self).await.map_err(RebuildError::Generations)?;
            if let Some(differences) = compared {
                return Ok(differences);
            }
            tokio::time::sleep(SWAP_PAUSE).await;
        }
        Err(RebuildError::Behind(projection))
    }
}
