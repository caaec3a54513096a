//! Which generation this process writes and which one it reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::ElasticClient;
use super::error::ElasticError;
use super::generation::Generation;
use super::index_names::IndexNames;
use super::index_version::IndexVersion;
use super::pointer::{self, Live};

/// How long a process uses a generation before it reads the pointer again, and learns which one is live.
///
/// One more request a second costs nothing beside the searches. And one second is short beside the time for which the
/// former generation is kept after a move. In that second a reader sees the former generation, which lacks nothing: its
/// writers stop before the move.
pub(super) const POINTER_TTL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct GenerationCache {
    prefix: String,
    /// A generation that is being built, whatever is live.
    built: Option<Arc<Generation>>,
    writer: Mutex<Option<Cached>>,
    reader: Mutex<Option<Cached>>,
}

#[derive(Debug)]
struct Cached {
    generation: Arc<Generation>,
    is_paused: bool,
    /// When to read the pointer again.
    expires_at: Instant,
}

impl GenerationCache {
    /// Follows the pointer.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), built: None, writer: Mutex::new(None), reader: Mutex::new(None) }
    }

    /// Stays with a generation that is being built.
    pub(super) fn of_build(prefix: &str, number: u32) -> Self {
        let names = IndexNames::new(prefix, number);
        let built = Some(Arc::new(Generation::new(names, IndexVersion::CURRENT)));
        Self { built, ..Self::new(prefix) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the generation is being built.
    pub(super) const fn is_of_build(&self) -> bool {
        self.built.is_some()
    }

    /// The generation that is live, or was [`POINTER_TTL`] ago at most. A swap leaves a write block on the former one, so a writer
    /// that does not know of it yet writes nothing.
    ///
    /// Fails if the pointer is missing, even if the writer knows its generation: no search would find the documents
    /// that it writes.
    pub(super) async fn for_writing(&self, client: &ElasticClient) -> Result<Arc<Generation>, ElasticError> {
        self.get(&self.writer, client).await
    }

    /// Whether the projection was paused when [`Self::for_writing`] has read the pointer. A generation that is being built is not.
    pub(super) fn is_paused(&self) -> bool {
        !self.is_of_build() && self.writer.lock().as_ref().is_some_and(|cached| cached.is_paused)
    }

    /// The generation that is live, or was [`POINTER_TTL`] ago at most.
    pub(super) async fn for_reading(&self, client: &ElasticClient) -> Result<Arc<Generation>, ElasticError> {
        self.get(&self.reader, client).await
    }

    async fn get(
        &self,
        cached: &Mutex<Option<Cached>>,
        client: &ElasticClient,
    ) -> Result<Arc<Generation>, ElasticError> {
        if let Some(generation) = self.built.clone().or_else(|| unexpired(cached)) {
            return Ok(generation);
        }
        let expires_at = Instant::now() + POINTER_TTL;
        let live = pointer::read_live(client, &self.prefix).await?.ok_or(ElasticError::NotPrepared)?;
        Ok(self.update(cached, live, expires_at))
    }

    /// Waits until another generation than `generation` is live for readers. One read of the pointer serves all who wait.
    pub(super) async fn wait_for_another(
        &self,
        client: &ElasticClient,
        generation: &Arc<Generation>,
    ) -> Result<Arc<Generation>, ElasticError> {
        loop {
            tokio::time::sleep(POINTER_TTL).await;
            let live = self.for_reading(client).await?;
            if !Arc::ptr_eq(&live, generation) {
                return Ok(live);
            }
        }
    }

    /// Caches what a read of the pointer returned. `expires_at` is [`POINTER_TTL`] after the read began, so
    /// it also tells which of two reads began later.
    fn update(&self, cached: &Mutex<Option<Cached>>, live: Live, expires_at: Instant) -> Arc<Generation> {
        let mut cached = cached.lock();
        let generation = match cached.take() {
            // A concurrent read of the pointer began later and was answered sooner.
            Some(later) if later.expires_at > expires_at => {
                let generation = Arc::clone(&later.generation);
                *cached = Some(later);
                return generation;
            }
            // The same generation stays the same value: its waiters share one poll.
            Some(same) if is_same(&same.generation, live) => same.generation,
            _ => self.new_generation(live),
        };
        *cached = Some(Cached { generation: Arc::clone(&generation), is_paused: live.is_paused, expires_at });
        generation
    }

    /// Makes the next reader read the pointer again, if readers still use `generation`.
    pub(super) fn expire_for_readers(&self, generation: &Arc<Generation>) {
        expire(&self.reader, generation);
    }

    /// The same for writers.
    pub(super) fn expire_for_writers(&self, generation: &Arc<Generation>) {
        expire(&self.writer, generation);
    }

    fn new_generation(&self, live: Live) -> Arc<Generation> {
        Arc::new(Generation::new(IndexNames::new(&self.prefix, live.generation), live.version))
    }
}

/// An index that was lost and made again may have the number of the former one and another version.
fn is_same(generation: &Generation, live: Live) -> bool {
    generation.names.generation == live.generation && generation.version == live.version
}

fn expire(cached: &Mutex<Option<Cached>>, generation: &Arc<Generation>) {
    let mut cached = cached.lock();
    if let Some(cached) = cached.as_mut().filter(|cached| Arc::ptr_eq(&cached.generation, generation)) {
        cached.expires_at = Instant::now();
    }
}

fn unexpired(cached: &Mutex<Option<Cached>>) -> Option<Arc<Generation>> {
    let cached = cached.lock();
    cached.as_ref().filter(|cached| Instant::now() < cached.expires_at).map(|cached| Arc::clone(&cached.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_read_of_the_pointer_does_not_undo_a_later_one() {
        let cache = GenerationCache::new("x");
        let began = Instant::now();
        let after = |reads| began + reads * POINTER_TTL;
        let update = |generation, expires_at| {
            cache.update(&cache.reader, Live { generation, version: IndexVersion::FIRST, is_paused: false }, expires_at)
        };
        assert_eq!(update(1, after(1)).names.generation, 1);
        let second = update(2, after(3));
        assert_eq!(update(1, after(2)).names.generation, 2);
        assert!(Arc::ptr_eq(&update(2, after(4)), &second), "the same stays the same");
        let live = Live { generation: 2, version: IndexVersion::CURRENT, is_paused: false };
        assert_eq!(cache.update(&cache.reader, live, after(5)).version, live.version);
    }
}
