//! The write block of an index. A swap sets it on the live index, so that its checkpoints stand still.

use std::collections::HashMap;

use elasticsearch::http::Method;
use read_model::generations::LEASE;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Body, ElasticClient, QUICK_TIMEOUT, Request, SERVER_TIMEOUT};
use super::document_version::DocumentVersion;
use super::error::ElasticError;
use super::index_names::IndexNames;
use super::pointer;

/// Attempts to write the pointer before a block is lifted. Each fails only because somebody else has written it.
const MAX_ATTEMPTS: u32 = 5;

/// Sets the block. Returns once every write that came before is done.
pub(super) async fn set(client: &ElasticClient, index: &str) -> Result<(), ElasticError> {
    let path = format!("{index}/_block/write");
    let query = [("timeout", SERVER_TIMEOUT), ("master_timeout", SERVER_TIMEOUT)];
    let request =
        Request { method: Method::Put, path: &path, query: &query, body: Body::Empty, timeout: QUICK_TIMEOUT };
    client.send(request).await?.expect_success().map(drop)
}

pub(super) async fn is_set(client: &ElasticClient, index: &str) -> Result<bool, ElasticError> {
    let path = format!("{index}/_settings/index.blocks.write");
    let settings: HashMap<String, Value> = client.fetch_json(Request::get(&path)).await?;
    Ok(settings.values().any(|described| described["settings"]["index"]["blocks"]["write"] == "true"))
}

/// Lifts the block of an index if it is live. Before that it writes the pointer, so that a swap that is still under way cannot move it
/// any more: the index that the swap has passed would not stand still.
pub(super) async fn lift(client: &ElasticClient, prefix: &str, names: &IndexNames) -> Result<(), ElasticError> {
    pointer::extend_mapping(client, prefix).await?;
    for _ in 0..MAX_ATTEMPTS {
        let Some(mut state) = pointer::read(client, prefix).await? else { return Ok(()) };
        if state.pointer.generation != names.generation {
            return Ok(());
        }
        // Any change does: a write of the same content gets a new version, too.
        state.pointer.generations.last = state.pointer.generations.last.max(names.generation);
        if pointer::update(client, prefix, &state.pointer, state.version).await?.is_some() {
            return remove(client, &names.index).await;
        }
    }
    // Whoever writes the pointer that often is there, and lifts its block itself.
    Ok(())
}

async fn remove(client: &ElasticClient, index: &str) -> Result<(), ElasticError> {
    let path = format!("{index}/_settings");
    let query = [("timeout", SERVER_TIMEOUT), ("master_timeout", SERVER_TIMEOUT)];
    let body = Body::Json(json!({"index": {"blocks": {"write": null}}}));
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    client.send(request).await?.expect_success().map(drop)
}

/// Since when a writer has seen a block without a change of the pointer.
#[derive(Debug, Default)]
pub(super) struct BlockWatch(Option<(DocumentVersion, Instant)>);

impl BlockWatch {
    /// Whether the process that has set the block is away: it has not written the pointer for as long as a lease lasts.
    pub(super) fn is_left(&mut self, version: DocumentVersion) -> bool {
        match self.0 {
            Some((seen, since)) if seen == version => since.elapsed() >= LEASE,
            _ => {
                self.0 = Some((version, Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_block_is_left_when_the_pointer_has_not_changed_for_a_lease() {
        let version = |seq_no| DocumentVersion { seq_no, primary_term: 1 };
        let mut watch = BlockWatch::default();
        assert!(!watch.is_left(version(1)));
        tokio::time::advance(LEASE / 2).await;
        assert!(!watch.is_left(version(2)), "the owner is there");
        tokio::time::advance(LEASE / 2).await;
        assert!(!watch.is_left(version(2)));
        tokio::time::advance(LEASE / 2).await;
        assert!(watch.is_left(version(2)));
    }
}
