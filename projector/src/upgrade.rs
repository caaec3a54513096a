//! Makes the search index anew if an earlier version has folded its documents, beside the feeding of the live one.

use std::sync::Arc;
use std::time::Duration;

use distributed::elastic::{ElasticGenerations, ElasticIndex};
use distributed::kafka::{Cluster, KafkaLog};
use event_log::EventLog;
use read_model::{BackendError, Generations, GenerationsError, Projection};
use thiserror_ext::AsReport;
use tokio::sync::watch;

use crate::rebuild::{Progress, RebuildError, rebuild};

/// Pause between two looks at the index, after a failure or while another process makes it anew. A rebuild goes on where it was.
const PAUSE: Duration = Duration::from_secs(15);
/// How long the former index is kept, for reads that began before the swap.
const KEEP: Duration = Duration::from_secs(60);

/// The search index that may have to be made anew.
pub(crate) struct FoldingUpgrade {
    pub(crate) index: Arc<ElasticIndex>,
    pub(crate) generations: Arc<ElasticGenerations>,
}

/// Why the index is not of the current version yet.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error("the search index or the log cannot be read")]
    Read(#[source] BackendError),
    #[error(transparent)]
    Rebuild(RebuildError),
}

impl FoldingUpgrade {
    /// Returns once the live index is of the current version and the former one is deleted. Of several processes one makes it anew,
    /// and the others look from time to time whether it has come to its end. A caller may drop the future at any point.
    pub(crate) async fn run(self, cluster: Cluster) {
        while let Err(error) = self.upgrade(&cluster).await {
            match error {
                UpgradeError::Rebuild(RebuildError::Generations(GenerationsError::Busy(_))) => {
                    tracing::debug!("another process makes the search index anew");
                }
                error => tracing::warn!(
                    error = %error.as_report(),
                    "the search index could not be made anew; people search the one that is there; trying again in {PAUSE:?}"
                ),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn upgrade(&self, cluster: &Cluster) -> Result<(), UpgradeError> {
        let is_earlier = self.index.is_of_earlier_version().await;
        if !is_earlier.map_err(|error| UpgradeError::Read(error.into()))? {
            return Ok(());
        }
        tracing::info!("an earlier version has folded the search index; making it anew while people search this one");
        // A reader of its own: the feeding reads at the log's end, and this one at its start.
        let log = KafkaLog::connect(cluster.clone()).map_err(|error| UpgradeError::Read(error.into()))?;
        log.prepare().await.map_err(|error| UpgradeError::Read(error.into()))?;
        let log = Arc::new(log);
        let (progress, _) = watch::channel(Progress::default());
        let rebuilding =
            rebuild(Arc::clone(&log) as Arc<dyn EventLog>, self.generations(), Projection::Search, KEEP, &progress);
        let rebuilt = rebuilding.await.map_err(UpgradeError::Rebuild)?;
        log.close().await;
        tracing::info!(
            events = rebuilt.events,
            generation = rebuilt.generation.0,
            "the search index was made anew, and people search it"
        );
        self.delete_former().await;
        Ok(())
    }

    /// Deletes the former index when no read uses it any more.
    async fn delete_former(&self) {
        tokio::time::sleep(KEEP).await;
        if let Err(error) = self.generations.delete_former(Projection::Search, KEEP).await {
            let error = error.as_report();
            tracing::warn!(%error, "the former search index is still there; the next rebuild of search deletes it");
        }
    }

    fn generations(&self) -> Arc<dyn Generations> {
        Arc::clone(&self.generations) as _
    }
}
