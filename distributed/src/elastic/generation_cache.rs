//! Which generation this process writes and which one it reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::ElasticClient;
use super::error::ElasticError;
use super::generation::Generation;
use super::index_names::IndexNames;
use super::pointer;

/// How long a process uses a generation before it reads the pointer again. A reader then learns which generation is
/// live, a writer whether there still is one.
///
/// One more request a second costs nothing beside the searches. And one second is short beside the time for which the
/// former generation is kept after a move. In that second a reader sees the former generation, which lacks nothing: its
/// writers stop before the move.
const POINTER_TTL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct GenerationCache {
    prefix: String,
    /// Chosen once: a process that writes never touches a later generation.
    writer: Mutex<Option<Cached>>,
    reader: Mutex<Option<Cached>>,
}

#[derive(Debug)]
struct Cached {
    generation: Arc<Generation>,
    /// When to read the pointer again.
    expires_at: Instant,
}

impl GenerationCache {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), writer: Mutex::new(None), reader: Mutex::new(None) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The generation that was live at the writer's first call.
    ///
    /// Fails if the pointer is missing, even if the writer knows its generation: no search would find the documents
    /// that it writes.
    pub(super) async fn for_writing(&self, client: &ElasticClient) -> Result<Arc<Generation>, ElasticError> {
        if let Some(generation) = unexpired(&self.writer) {
            return Ok(generation);
        }
        let expires_at = Instant::now() + POINTER_TTL;
        let number = pointer::read(client, &self.prefix).await?.ok_or(ElasticError::NotPrepared)?;
        let mut writer = self.writer.lock();
        let first = writer.take().map(|cached| cached.generation);
        let generation = first.unwrap_or_else(|| self.new_generation(number));
        *writer = Some(Cached { generation: Arc::clone(&generation), expires_at });
        Ok(generation)
    }

    /// The generation that is live, or was [`POINTER_TTL`] ago at most.
    pub(super) async fn for_reading(&self, client: &ElasticClient) -> Result<Arc<Generation>, ElasticError> {
        if let Some(generation) = unexpired(&self.reader) {
            return Ok(generation);
        }
        let expires_at = Instant::now() + POINTER_TTL;
        let number = pointer::read(client, &self.prefix).await?.ok_or(ElasticError::NotPrepared)?;
        Ok(self.update_reader(number, expires_at))
    }

    /// Caches the number that a read of the pointer returned. `expires_at` is [`POINTER_TTL`] after the read began, so
    /// it also tells which of two reads began later.
    fn update_reader(&self, number: u32, expires_at: Instant) -> Arc<Generation> {
        let mut reader = self.reader.lock();
        let generation = match reader.take() {
            // A concurrent read of the pointer began later and was answered sooner.
            Some(later) if later.expires_at > expires_at => {
                let generation = Arc::clone(&later.generation);
                *reader = Some(later);
                return generation;
            }
            // The same generation stays the same value: its waiters share one poll.
            Some(cached) if cached.generation.names.generation == number => cached.generation,
            _ => self.new_generation(number),
        };
        *reader = Some(Cached { generation: Arc::clone(&generation), expires_at });
        generation
    }

    /// Makes the next reader read the pointer again, if readers still use `generation`.
    pub(super) fn expire(&self, generation: &Arc<Generation>) {
        let mut reader = self.reader.lock();
        if let Some(cached) = reader.as_mut().filter(|cached| Arc::ptr_eq(&cached.generation, generation)) {
            cached.expires_at = Instant::now();
        }
    }

    fn new_generation(&self, number: u32) -> Arc<Generation> {
        Arc::new(Generation::new(IndexNames::new(&self.prefix, number)))
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
        assert_eq!(cache.update_reader(1, after(1)).names.generation, 1);
        let second = cache.update_reader(2, after(3));
        assert_eq!(cache.update_reader(1, after(2)).names.generation, 2);
        assert!(Arc::ptr_eq(&cache.update_reader(2, after(4)), &second), "the same stays the same");
    }
}
