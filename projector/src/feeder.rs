//! Feeds a projection, from the first attempt to reach its servers to its last batch.

use std::sync::Arc;

use async_trait::async_trait;
use distributed::elastic::{self, ElasticIndex};
use distributed::kafka::{self, Cluster, KafkaLog, Membership};
use distributed::mysql::{MigrateError, MySqlProjections};
use event_log::EventLog;
use futures_util::FutureExt;
use read_model::{BackendError, Pauses};
use service::health::{Part, Readiness};
use service::startup::{retry_uninterrupted, retry_until_ready};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::assignment::AssignedPartitions;
use crate::sink::ProjectionSink;
use crate::upgrade::Upgrade;

pub(crate) struct Feeder {
    pub(crate) cluster: Cluster,
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) sink: Arc<dyn ProjectionSink>,
    pub(crate) server: Arc<dyn PrepareServer>,
    pub(crate) pauses: Arc<dyn Pauses>,
    /// Earlier releases may have left another version of the projection.
    pub(crate) upgrade: Upgrade,
    /// Becomes ready once the consumer group has assigned partitions to this process.
    pub(crate) part: Part,
    pub(crate) readiness: Readiness,
    pub(crate) stop: CancellationToken,
}

impl Feeder {
    /// Feeds until `stop`, and lets the current batches end.
    ///
    /// # Errors
    /// If the projection cannot be fed until an operator acts.
    pub(crate) async fn feed(self) -> Result<(), BackendError> {
        if !self.prepare().await? {
            return Ok(());
        }
        let membership = Membership::join(&self.cluster, self.sink.projection().name())?;
        // Ends with the feeding. Another start goes on with a rebuild that this cuts off.
        let cluster = self.cluster.clone();
        // A reader of its own: the feeding reads at the log's end, and this one at its start.
        let open_log = async move || {
            let log = KafkaLog::connect(cluster.clone())?;
            log.prepare().await?;
            Ok(Arc::new(log) as Arc<dyn EventLog>)
        };
        let upgrade = AbortOnDropHandle::new(tokio::spawn(self.upgrade.run(open_log)));
        let assignment = AssignedPartitions {
            log: Arc::clone(&self.log) as _,
            sink: self.sink,
            pauses: self.pauses,
            part: self.part,
            readiness: self.readiness,
        };
        let report = |partition, next| membership.report(partition, next);
        let ended = assignment.run(membership.owned(), report, self.stop).await;
        drop(upgrade);
        membership.close().await;
        self.log.close().await;
        Ok(ended?)
    }

    /// Prepares the log and the server; false if the stop came first.
    async fn prepare(&self) -> Result<bool, BackendError> {
        let is_lasting = kafka::PrepareError::is_lasting;
        let log = retry_until_ready(&self.part, &self.stop, is_lasting, || self.log.prepare().boxed()).await?;
        Ok(log.is_some() && self.server.prepare(&self.part, &self.stop).await?)
    }
}

/// A server that must be prepared before it can keep a projection.
#[async_trait]
pub(crate) trait PrepareServer: Send + Sync {
    /// Tries until it succeeds, and reports each failure to `part`; false if `stop` came first.
    async fn prepare(&self, part: &Part, stop: &CancellationToken) -> Result<bool, BackendError>;
}

#[async_trait]
impl PrepareServer for MySqlProjections {
    async fn prepare(&self, part: &Part, stop: &CancellationToken) -> Result<bool, BackendError> {
        // A migration that is cut off would leave half-made tables.
        let done = retry_uninterrupted(part, stop, MigrateError::is_lasting, || self.migrate().boxed()).await?;
        Ok(done.is_some())
    }
}

#[async_trait]
impl PrepareServer for ElasticIndex {
    async fn prepare(&self, part: &Part, stop: &CancellationToken) -> Result<bool, BackendError> {
        let is_lasting: fn(&_) -> _ = |error| !matches!(error, elastic::PrepareError::Request(_));
        Ok(retry_until_ready(part, stop, is_lasting, || self.prepare().boxed()).await?.is_some())
    }
}
