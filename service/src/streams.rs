//! Answers without an end: streams, which clients read for as long as they like.
//!
//! A stream has a place among the streams of its process, and none among the requests: it holds no slot of [`crate::router`], which ends
//! with the head of its answer, and its connection does not count among those that wait for requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most streams of a process at once, if the limit of open files is high enough.
pub const MAX_STREAMS: usize = 10_000;

/// How many streams a process may have. Clones share the bound.
#[derive(Clone, Debug)]
pub struct StreamLimit {
    max_streams: usize,
    places: Arc<Semaphore>,
}

/// The place of a stream. A drop gives it back.
#[derive(Debug)]
pub struct StreamPlace(#[expect(dead_code, reason = "its drop gives the place back")] OwnedSemaphorePermit);

/// Is in the extensions of an answer that is a stream: how many bytes it keeps in memory until its client has read them, beside those that
/// other streams keep too. Clones share the number.
#[derive(Clone, Debug, Default)]
pub struct HeldBytes(Arc<AtomicUsize>);

impl StreamLimit {
    pub fn new(max_streams: usize) -> Self {
        Self { max_streams, places: Arc::new(Semaphore::new(max_streams)) }
    }

    pub const fn max(&self) -> usize {
        self.max_streams
    }

    /// Takes a place. `None` if there are as many streams as may be.
    pub fn try_take(&self) -> Option<StreamPlace> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(StreamPlace)
    }

    /// How many streams there are.
    pub fn count(&self) -> usize {
        self.max_streams - self.places.available_permits()
    }
}

impl HeldBytes {
    /// Marks an answer as a stream that holds these bytes.
    #[must_use]
    pub fn mark(&self, mut answer: Response) -> Response {
        answer.extensions_mut().insert(self.clone());
        answer
    }

    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_stream_has_ended() {
        let limit = StreamLimit::new(2);
        let (first, _second) = (limit.try_take().unwrap(), limit.try_take().unwrap());
        assert!(limit.try_take().is_none() && limit.count() == 2);
        drop(first);
        assert_eq!(limit.count(), 1);
        assert!(limit.try_take().is_some());
    }
}
