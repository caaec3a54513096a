//! Which index is live: one document names it, and a rebuild will move it by one conditional update.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::client::{Body, QUICK, Request, Server};
use super::error::ElasticError;
use super::progress::Progress;
use crate::coalesce::Coalescer;

/// The first generation there is.
pub(super) const FIRST: u32 = 1;

/// How long a reader keeps to a generation before it looks again which one is live, and a writer before it looks whether
/// there still is one.
///
/// Long enough to cost nothing beside a search, and short beside the time for which the former generation is kept after
/// a move. Within it a reader sees the former, which lacks nothing: its writers have stopped before the move.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How soon after a refresh or a flush the next one may begin: it costs more than what a few documents do, so that those
/// which come in between share one. What is written after a pause is refreshed at once.
const REFRESH_PACE: Duration = Duration::from_millis(100);

/// A generation's index.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u32,
    /// The index, to read.
    pub(super) index: String,
    /// The index, to write: an alias that comes and goes with it. A write that demands one cannot make an index of its
    /// own accord, with another mapping, where the real one was deleted.
    pub(super) writes: String,
    /// Who waits for its checkpoints.
    pub(super) progress: Progress,
    /// Refreshes of the index, one for all batches that are written at the moment.
    pub(super) refreshes: Coalescer<Result<(), Arc<ElasticError>>>,
    /// Flushes of it, likewise.
    pub(super) flushes: Coalescer<Result<(), Arc<ElasticError>>>,
}

/// The document that names the live generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pointer {
    pub(super) generation: u32,
}

#[derive(Deserialize)]
struct Document {
    found: bool,
    #[serde(rename = "_source")]
    source: Option<Pointer>,
}

/// What a process knows of the live generation.
#[derive(Debug)]
pub(super) struct Generations {
    prefix: String,
    /// For life: a process that writes never touches a generation that came after it.
    writing: Mutex<Option<Known>>,
    reading: Mutex<Option<Known>>,
}

/// A generation, and when to look again.
#[derive(Debug)]
struct Known {
    generation: Arc<Generation>,
    until: Instant,
}

impl Generations {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), writing: Mutex::new(None), reading: Mutex::new(None) }
    }

    /// The index of the pointer.
    pub(super) fn pointer_index(&self) -> String {
        format!("{}-pointer", self.prefix)
    }

    /// Path of the pointer, for the given way of asking (`_doc`, `_create`).
    pub(super) fn pointer_path(&self, way: &str) -> String {
        format!("{}/{way}/live", self.pointer_index())
    }

    pub(super) fn generation(&self, number: u32) -> Generation {
        let index = format!("{}-{number}", self.prefix);
        Generation {
            number,
            writes: format!("{index}-writes"),
            index,
            progress: Progress::default(),
            refreshes: Coalescer::new(REFRESH_PACE),
            flushes: Coalescer::new(REFRESH_PACE),
        }
    }

    /// The generation that was live when a writer first asked.
    ///
    /// Without a pointer there is none, also for who knows it: what is written would not be found.
    pub(super) async fn for_writing(&self, server: &Server) -> Result<Arc<Generation>, ElasticError> {
        if let Some(generation) = fresh(&self.writing) {
            return Ok(generation);
        }
        let until = Instant::now() + LOOK_AGAIN;
        let number = self.live(server).await?.ok_or(ElasticError::NotPrepared)?;
        let mut writing = locked(&self.writing);
        let first = writing.take().map(|known| known.generation);
        let generation = first.unwrap_or_else(|| Arc::new(self.generation(number)));
        *writing = Some(Known { generation: Arc::clone(&generation), until });
        Ok(generation)
    }

    /// The generation that is live, as of [`LOOK_AGAIN`] ago at most.
    pub(super) async fn for_reading(&self, server: &Server) -> Result<Arc<Generation>, ElasticError> {
        if let Some(generation) = fresh(&self.reading) {
            return Ok(generation);
        }
        let until = Instant::now() + LOOK_AGAIN;
        let number = self.live(server).await?.ok_or(ElasticError::NotPrepared)?;
        Ok(self.seen_live(number, until))
    }

    /// What to read, given what was seen; `until` tells when it was looked.
    fn seen_live(&self, number: u32, until: Instant) -> Arc<Generation> {
        let mut reading = locked(&self.reading);
        let generation = match reading.take() {
            // Somebody has looked later and was answered sooner.
            Some(later) if later.until > until => {
                let generation = Arc::clone(&later.generation);
                *reading = Some(later);
                return generation;
            }
            // The same generation stays the same value: those who wait for it share its progress.
            Some(known) if known.generation.number == number => known.generation,
            _ => Arc::new(self.generation(number)),
        };
        *reading = Some(Known { generation: Arc::clone(&generation), until });
        generation
    }

    /// Looks again at the next occasion.
    pub(super) fn forget(&self, generation: &Arc<Generation>) {
        if let Some(reading) = locked(&self.reading).as_mut().filter(|r| Arc::ptr_eq(&r.generation, generation)) {
            reading.until = Instant::now();
        }
    }

    /// The number of the live generation, asked of the server; `None` before the first.
    pub(super) async fn live(&self, server: &Server) -> Result<Option<u32>, ElasticError> {
        let path = self.pointer_path("_doc");
        let request = Request { method: Method::Get, path: &path, query: &[], body: Body::Empty, time_out: QUICK };
        let reply = server.send(request).await?;
        if reply.status == 404 && reply.cause().is_some_and(|cause| cause.is_missing_index()) {
            return Ok(None);
        }
        let reply = if reply.status == 404 { reply } else { reply.expect_success()? };
        let document: Document = reply.json()?;
        match document.source {
            Some(pointer) if document.found => Ok(Some(pointer.generation)),
            _ => Ok(None),
        }
    }
}

fn fresh(known: &Mutex<Option<Known>>) -> Option<Arc<Generation>> {
    let known = locked(known);
    known.as_ref().filter(|known| Instant::now() < known.until).map(|known| Arc::clone(&known.generation))
}

fn locked(known: &Mutex<Option<Known>>) -> MutexGuard<'_, Option<Known>> {
    // Nothing panics while holding it; were it so, what it holds is whole all the same.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_look_does_not_undo_a_later_one() {
        let (generations, began) = (Generations::new("x"), Instant::now());
        let after = |looks| began + looks * LOOK_AGAIN;
        assert_eq!(generations.seen_live(1, after(1)).number, 1);
        let second = generations.seen_live(2, after(3));
        assert_eq!(generations.seen_live(1, after(2)).number, 2);
        assert!(Arc::ptr_eq(&generations.seen_live(2, after(4)), &second), "the same stays the same");
    }
}
