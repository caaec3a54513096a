//! Compares the live index with one that is made anew, and pauses `search`; see [`OperateGenerations`].

use std::time::Duration;

use async_trait::async_trait;
use events::PartitionId;
use read_model::{
    Applied, BackendError, Build, CatchUp, Difference, FoldingVersion, GenerationNumber, GenerationsError, LiveError,
    LiveGeneration, OperateGenerations, PauseError, Pauses, Projection,
};
use serde_json::Value;

use super::client::ElasticClient;
use super::document_scroll::{Document, Scroll, look_up};
use super::error::{BuildError, ElasticError};
use super::generation_cache::POINTER_TTL;
use super::generations::{Change, ElasticGenerations, check_is_kept};
use super::index_names::IndexNames;
use super::{checkpoints, own_text, pointer};

/// Attempts to write a checkpoint again for a pause. Each fails only because a batch ends, or a swap runs.
const MAX_REWRITES: u32 = 40;
/// Pause between two attempts; all of them take longer than a swap.
const REWRITE_PAUSE: Duration = Duration::from_millis(100);
/// The member of a document that names its event.
const EVENT: &str = "event";

/// Documents of the live index that are not what they should be.
#[derive(Debug, Default)]
struct Differing {
    /// They are not there, or have another content.
    missing: u64,
    /// They are there as they should be, but searches do not find them.
    not_found: u64,
    /// They should not be there, or not with this content.
    unexpected: u64,
}

impl ElasticGenerations {
    async fn read_live(&self, projection: Projection) -> Result<LiveGeneration, BuildError> {
        check_is_kept(projection)?;
        let pointer = self.read().await?.pointer;
        let checkpoints = checkpoints::read_all(&self.client, &self.names(pointer.generation)).await?;
        Ok(LiveGeneration {
            version: pointer.version.0,
            generation: GenerationNumber(pointer.generation),
            checkpoints,
            // What cannot be indexed is a dead letter of views.
            dead_letters: 0,
            is_paused: pointer.generations.is_paused,
        })
    }

    async fn try_set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), BuildError> {
        check_is_kept(projection)?;
        pointer::extend_mapping(&self.client, &self.prefix).await?;
        self.change(|pointer| {
            pointer.generations.is_paused = is_paused;
            Change::Write(())
        })
        .await?;
        // Until then a writer may not know.
        tokio::time::sleep(POINTER_TTL).await;
        if is_paused { self.stop_begun_batches().await } else { Ok(()) }
    }

    /// Writes the checkpoints of the live index again, as they are. A batch that had begun before, however slow its process is, finds
    /// that somebody has written its checkpoint, and does not move it.
    async fn stop_begun_batches(&self) -> Result<(), BuildError> {
        let live = self.names(self.read().await?.pointer.generation);
        for (partition, _) in checkpoints::read_all(&self.client, &live).await? {
            self.stop_begun_batch(&live, partition).await?;
        }
        Ok(())
    }

    async fn stop_begun_batch(&self, live: &IndexNames, partition: PartitionId) -> Result<(), BuildError> {
        for _ in 0..MAX_REWRITES {
            match checkpoints::rewrite(&self.client, live, partition).await {
                Ok(Applied::Done) => return Ok(()),
                // A batch has just ended. Or a swap had begun before the pause: it fails, and lets writers go on.
                Ok(Applied::Superseded) | Err(ElasticError::Blocked { .. }) => tokio::time::sleep(REWRITE_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(BuildError::StillWriting { attempts: MAX_REWRITES })
    }

    async fn try_compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Vec<Difference>, BackendError> {
        let pointer = self.read().await?.pointer;
        let format = pointer.version.format().ok_or(ElasticError::LaterVersion { version: pointer.version.0 })?;
        let folding = format.folding;
        let (live, built) = (self.names(pointer.generation), self.names(build.generation.0));
        let mut differing = Differing::default();
        // The built index has what lies before the checkpoints of the live one.
        differing.add_missing(&self.client, &built, &live, folding).await?;
        // That may take long, and a scroll that nobody reads ends after a while.
        rest.catch_up_to_end().await?;
        let scroll = Scroll::open(&self.client, &live).await?;
        // From here on the built index has everything that the live one had when the scroll was opened.
        rest.catch_up_to_end().await?;
        differing.add_unexpected(&self.client, scroll, &built).await?;
        Ok(differing.describe())
    }
}

impl Differing {
    /// Adds the documents of `built` that are missing in `live`, or are there but not found.
    async fn add_missing(
        &mut self,
        client: &ElasticClient,
        built: &IndexNames,
        live: &IndexNames,
        folding: FoldingVersion,
    ) -> Result<(), ElasticError> {
        let mut scroll = Scroll::open(client, built).await?;
        while let Some(mut page) = scroll.next().await? {
            let found = look_up(client, live, &page).await?;
            let documents = page.len();
            page.retain(|document| is_same(document, &found));
            self.missing += (documents - page.len()) as u64;
            self.not_found += own_text::count_not_found(client, live, folding, page).await?;
        }
        scroll.close().await
    }

    /// Adds the documents of a scroll over the live index that `built` does not have.
    async fn add_unexpected(
        &mut self,
        client: &ElasticClient,
        mut scroll: Scroll<'_>,
        built: &IndexNames,
    ) -> Result<(), ElasticError> {
        while let Some(page) = scroll.next().await? {
            let found = look_up(client, built, &page).await?;
            self.unexpected += page.iter().filter(|document| !is_same(document, &found)).count() as u64;
        }
        scroll.close().await
    }

    fn describe(&self) -> Vec<Difference> {
        let Self { missing, not_found, unexpected } = *self;
        let projection = Projection::Search;
        let documents = Difference { projection, table: "documents", missing, unexpected };
        let terms = Difference { projection, table: "terms of documents", missing: not_found, unexpected: 0 };
        let differs = |difference: &Difference| difference.missing > 0 || difference.unexpected > 0;
        [documents, terms].into_iter().filter(differs).collect()
    }
}

/// A document of version 1 does not name its event, which is compared only where both do.
fn is_same(document: &Document, found: &std::collections::BTreeMap<String, Value>) -> bool {
    let Some(found) = found.get(&document.id) else { return false };
    let (one, other) = (&document.source, found);
    let is_named = |source: &Value| source.get(EVENT).is_some();
    if is_named(one) == is_named(other) { one == other } else { without_event(one) == without_event(other) }
}

fn without_event(source: &Value) -> Value {
    let mut source = source.clone();
    if let Some(members) = source.as_object_mut() {
        members.remove(EVENT);
    }
    source
}

#[async_trait]
impl Pauses for ElasticGenerations {
    async fn is_paused(&self, projection: Projection) -> Result<bool, PauseError> {
        let live = pointer::read_live(&self.client, &self.prefix).await;
        let live = live.map_err(|error| PauseError::Read { projection, source: error.into() })?;
        Ok(live.is_some_and(|live| live.is_paused))
    }

    /// A batch that had begun before moves its checkpoint no more. Documents that it has sent may still be found, since an index has
    /// no transactions.
    async fn set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), PauseError> {
        let changed = self.try_set_paused(projection, is_paused).await;
        changed.map_err(|error| PauseError::Change { projection, source: error.into() })
    }
}

#[async_trait]
impl OperateGenerations for ElasticGenerations {
    async fn live(&self, projection: Projection) -> Result<LiveGeneration, LiveError> {
        self.read_live(projection).await.map_err(|error| LiveError { projection, source: error.into() })
    }

    async fn compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, GenerationsError> {
        let compared = self.try_compare(build, rest).await;
        compared.map(Some).map_err(|source| GenerationsError::Compare { projection: build.projection, source })
    }
}
