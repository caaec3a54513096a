//! The live state of one generation: refreshes, flushes and polls that concurrent callers share.

use std::sync::Arc;
use std::time::Duration;

use elasticsearch::http::Method;
use serde::Deserialize;

use super::checkpoint_poll::CheckpointPoll;
use super::client::{BULK_TIMEOUT, Body, ElasticClient, Request};
use super::error::ElasticError;
use super::index_names::IndexNames;
use super::index_version::{DocumentFormat, IndexVersion};
use crate::coalesce::Coalescer;

/// Shortest time from the beginning of one refresh or flush to the next. Each costs the server more than a few
/// documents do, so batches that arrive in between share one. A batch that follows a pause is refreshed at once.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// A generation in use by this process.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) names: IndexNames,
    pub(super) version: IndexVersion,
    pub(super) checkpoint_poll: CheckpointPoll,
    refreshes: Coalescer<Result<(), Arc<ElasticError>>>,
    flushes: Coalescer<Result<(), Arc<ElasticError>>>,
}

#[derive(Deserialize)]
struct ShardsReply {
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

impl Generation {
    pub(super) fn new(names: IndexNames, version: IndexVersion) -> Self {
        Self {
            names,
            version,
            checkpoint_poll: CheckpointPoll::default(),
            refreshes: Coalescer::new(SYNC_INTERVAL),
            flushes: Coalescer::new(SYNC_INTERVAL),
        }
    }

    /// How its documents are written. A later version than this program knows is an error: searches would not find documents that
    /// another one has folded.
    pub(super) fn format(&self) -> Result<DocumentFormat, ElasticError> {
        self.version.format().ok_or(ElasticError::LaterVersion { version: self.version.0 })
    }

    /// Makes all documents that were written before this call visible to searches. One refresh costs the server the
    /// same for one batch as for the batches of all partitions, so concurrent callers share it.
    pub(super) async fn refresh(&self, client: &ElasticClient) -> Result<(), ElasticError> {
        let refresh = async || self.call_every_shard(client, "_refresh").await.map_err(Arc::new);
        self.refreshes.run(refresh).await.map_err(ElasticError::Refresh)
    }

    /// Writes all documents that were sent before this call to the disk, on every copy of every shard. Concurrent
    /// callers share one flush.
    pub(super) async fn flush(&self, client: &ElasticClient) -> Result<(), ElasticError> {
        let flush = async || self.call_every_shard(client, "_flush").await.map_err(Arc::new);
        self.flushes.run(flush).await.map_err(ElasticError::Flush)
    }

    async fn call_every_shard(&self, client: &ElasticClient, api: &str) -> Result<(), ElasticError> {
        let path = format!("{}/{api}", self.names.index);
        let request =
            Request { method: Method::Post, path: &path, query: &[], body: Body::Empty, timeout: BULK_TIMEOUT };
        let ShardsReply { shards } = client.fetch_json(request).await?;
        if shards.failed > 0 {
            let reason = format!("{} shards have failed", shards.failed);
            return Err(ElasticError::Refused { status: 200, reason });
        }
        Ok(())
    }
}
