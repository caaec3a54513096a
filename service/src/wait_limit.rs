//! A bound on how many requests wait for one kind of thing at once, so that those that only wait leave room for others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::metrics;

/// The gauge of requests that wait, by queue.
pub(crate) const WAITING: &str = "tally_waiting_requests";
pub(crate) const WAITING_HELP: &str = "Requests that wait in a queue.";

/// At most so many waits at once. One more ends the wait that has lasted the longest: whoever comes last often waits for
/// milliseconds only, and whoever has waited the longest is the least likely to get anything. Clones share the bound.
#[derive(Clone, Debug)]
pub struct WaitLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_waits: usize,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    next_id: u64,
    /// In the order in which the waits began. A drop of a sender ends its wait.
    by_id: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Too many others wait, for a shorter time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait at once")]
pub struct Displaced;

impl WaitLimit {
    pub fn new(max_waits: usize) -> Self {
        Self(Arc::new(Inner { max_waits, waits: Mutex::default() }))
    }

    /// Adds the number of waits to the metrics of the process, with this label.
    #[must_use]
    pub fn with_gauge(self, queue: &'static str) -> Self {
        let inner = Arc::downgrade(&self.0);
        let waiting = move || Some(inner.upgrade()?.waits.lock().by_id.len() as f64);
        metrics::sample(WAITING, WAITING_HELP, ("queue", queue), waiting);
        self
    }

    /// Awaits `wait`. One that need not wait does not count.
    ///
    /// # Errors
    /// [`Displaced`] if another needs the place.
    pub async fn run<T>(&self, wait: impl Future<Output = T>) -> Result<T, Displaced> {
        let mut wait = pin!(wait);
        if let Poll::Ready(output) = poll!(wait.as_mut()) {
            return Ok(output);
        }
        let (id, displaced) = self.begin();
        let _end = End { limit: self, id };
        tokio::select! {
            biased;
            output = wait => Ok(output),
            _dropped = displaced => Err(Displaced),
        }
    }

    fn begin(&self) -> (u64, oneshot::Receiver<()>) {
        let mut waits = self.0.waits.lock();
        let id = waits.next_id;
        waits.next_id += 1;
        let (sender, displaced) = oneshot::channel();
        waits.by_id.insert(id, sender);
        if waits.by_id.len() > self.0.max_waits {
            waits.by_id.pop_first();
        }
        (id, displaced)
    }
}

/// Ends a wait when dropped.
struct End<'a> {
    limit: &'a WaitLimit,
    id: u64,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.limit.0.waits.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn one_wait_too_many_ends_the_longest_one() {
        let limit = WaitLimit::new(2);
        let (mut first, mut second) = (pin!(limit.run(pending::<()>())), pin!(limit.run(pending::<()>())));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        assert_eq!(limit.run(ready(7)).await, Ok(7), "it need not wait");
        assert!(poll!(first.as_mut()).is_pending());
        let third_ends = CancellationToken::new();
        let mut third = pin!(limit.run(third_ends.cancelled()));
        assert!(poll!(third.as_mut()).is_pending());
        assert_eq!(first.await, Err(Displaced));
        third_ends.cancel();
        assert_eq!(third.await, Ok(()));
        let mut fourth = pin!(limit.run(pending::<()>()));
        assert!(poll!(fourth.as_mut()).is_pending());
        assert!(poll!(second.as_mut()).is_pending(), "the third one's place was free");
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_its_place() {
        let limit = WaitLimit::new(1);
        {
            let mut given_up = pin!(limit.run(pending::<()>()));
            assert!(poll!(given_up.as_mut()).is_pending());
        }
        let mut other = pin!(limit.run(pending::<()>()));
        assert!(poll!(other.as_mut()).is_pending());
        assert_eq!(limit.0.waits.lock().by_id.len(), 1);
    }
}
