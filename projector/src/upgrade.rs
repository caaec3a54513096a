//! Makes a projection anew that an earlier release has left by an earlier version, beside the feeding of the live one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use read_model::{BackendError, GenerationsError, LiveError, OperateGenerations, Projection};
use thiserror_ext::AsReport;
use tokio::sync::watch;

use crate::rebuild::{Progress, RebuildError, rebuild};

/// Pause between two looks at a live generation that is of the current version. A program of an earlier release that still runs may make
/// it one of an earlier version again.
const LOOK_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Pause between two looks at the live generation, after a failure or while another process makes it anew. A rebuild goes on where it
/// was.
const PAUSE: Duration = Duration::from_secs(15);
/// How long the former generation is kept, for reads that began before the swap.
const KEEP: Duration = Duration::from_secs(60);

/// A projection that may have to be made anew.
pub struct Upgrade {
    /// The projection.
    pub projection: Projection,
    /// Its generations.
    pub generations: Arc<dyn OperateGenerations>,
}

/// Why the live generation is not of the current version yet.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(transparent)]
    Live(LiveError),
    #[error("the log cannot be read")]
    Log(#[source] BackendError),
    #[error(transparent)]
    Rebuild(RebuildError),
}

impl Upgrade {
    /// Makes the live generation anew whenever it is of an earlier version, and then deletes the former one. Of several processes one makes
    /// it anew, and the others look from time to time whether it has come to its end. `open_log` opens a log for one rebuild. Has no end; a
    /// caller may drop the future at any point.
    pub async fn run(self, open_log: impl AsyncFn() -> Result<Arc<dyn EventLog>, BackendError>) -> Infallible {
        let projection = self.projection.name();
        loop {
            let Err(error) = self.upgrade(&open_log).await else {
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            };
            match error {
                UpgradeError::Rebuild(RebuildError::Generations(
                    wait @ (GenerationsError::Busy(_) | GenerationsError::Paused(_)),
                )) => {
                    tracing::debug!(projection, error = %wait, "the projection is not made anew yet");
                }
                error => tracing::warn!(
                    projection,
                    error = %error.as_report(),
                    "the projection could not be made anew; people read the one that is there; trying again in {PAUSE:?}"
                ),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn upgrade(
        &self,
        open_log: &impl AsyncFn() -> Result<Arc<dyn EventLog>, BackendError>,
    ) -> Result<(), UpgradeError> {
        let projection = self.projection;
        let live = self.generations.live(projection).await.map_err(UpgradeError::Live)?;
        if live.version >= projection.version() {
            return Ok(());
        }
        tracing::info!(
            projection = projection.name(),
            "an earlier release has made the projection; making it anew while people read this one"
        );
        let log = open_log().await.map_err(UpgradeError::Log)?;
        let (progress, _) = watch::channel(Progress::default());
        let rebuilding = rebuild(log, Arc::clone(&self.generations) as _, projection, KEEP, &progress);
        let rebuilt = rebuilding.await.map_err(UpgradeError::Rebuild)?;
        tracing::info!(
            projection = projection.name(),
            events = rebuilt.events,
            generation = rebuilt.generation.0,
            "the projection was made anew, and people read it"
        );
        self.delete_former().await;
        Ok(())
    }

    /// Deletes the former generation when no read uses it any more.
    async fn delete_former(&self) {
        tokio::time::sleep(KEEP).await;
        if let Err(error) = self.generations.delete_former(self.projection, KEEP).await {
            let (projection, error) = (self.projection.name(), error.as_report());
            tracing::warn!(projection, %error, "the former generation is still there; the next rebuild deletes it");
        }
    }
}
