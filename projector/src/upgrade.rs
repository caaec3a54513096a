//! Makes a projection anew that an earlier release has left by an earlier version, beside the feeding of the live one.

use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog};
use event_log::EventLog;
use read_model::{BackendError, GenerationsError, LiveError, OperateGenerations, Projection};
use thiserror_ext::AsReport;
use tokio::sync::watch;

use crate::rebuild::{Progress, RebuildError, rebuild};

/// Pause between two looks at the live generation, after a failure or while another process makes it anew. A rebuild goes on where it
/// was.
const PAUSE: Duration = Duration::from_secs(15);
/// How long the former generation is kept, for reads that began before the swap.
const KEEP: Duration = Duration::from_secs(60);

/// A projection that may have to be made anew.
pub(crate) struct Upgrade {
    pub(crate) projection: Projection,
    pub(crate) generations: Arc<dyn OperateGenerations>,
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
    /// Returns once the live generation is of the current version and the former one is deleted. Of several processes one makes it anew,
    /// and the others look from time to time whether it has come to its end. A caller may drop the future at any point.
    pub(crate) async fn run(self, cluster: Cluster) {
        let projection = self.projection.name();
        while let Err(error) = self.upgrade(&cluster).await {
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

    async fn upgrade(&self, cluster: &Cluster) -> Result<(), UpgradeError> {
        let projection = self.projection;
        let live = self.generations.live(projection).await.map_err(UpgradeError::Live)?;
        if live.version >= projection.version() {
            return Ok(());
        }
        tracing::info!(
            projection = projection.name(),
            "an earlier release has made the projection; making it anew while people read this one"
        );
        // A reader of its own: the feeding reads at the log's end, and this one at its start.
        let log = KafkaLog::connect(cluster.clone()).map_err(|error| UpgradeError::Log(error.into()))?;
        log.prepare().await.map_err(|error| UpgradeError::Log(error.into()))?;
        let log = Arc::new(log);
        let (progress, _) = watch::channel(Progress::default());
        let rebuilding = rebuild(
            Arc::clone(&log) as Arc<dyn EventLog>,
            Arc::clone(&self.generations) as _,
            projection,
            KEEP,
            &progress,
        );
        let rebuilt = rebuilding.await.map_err(UpgradeError::Rebuild)?;
        log.close().await;
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
