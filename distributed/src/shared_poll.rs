//! Polls a server on behalf of all waiters, until each waiter's condition holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pause between two polls, where no other is said.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// An adapter's own error, shared by all waiters.
pub(crate) type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Polls a server while somebody waits, and shares each result with all waiters.
#[derive(Debug)]
pub(crate) struct SharedPoll<T> {
    latest: watch::Sender<Poll<T>>,
    waiter_arrived: Notify,
}

#[derive(Debug)]
struct Poll<T> {
    /// How many polls came before this one.
    serial: u64,
    result: Result<T, SharedError>,
}

impl<T: Default + Send + Sync + 'static> SharedPoll<T> {
    /// Calls `poll` while somebody waits, until the guard is dropped. Must be called in a tokio runtime.
    pub(crate) fn start<P, F, E>(poll: P) -> (Arc<Self>, DropGuard)
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Self::start_every(POLL_PAUSE, poll)
    }

    /// The same with another pause between two polls.
    pub(crate) fn start_every<P, F, E>(pause: Duration, poll: P) -> (Arc<Self>, DropGuard)
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let initial = Poll { serial: 0, result: Ok(T::default()) };
        let shared = Arc::new(Self { latest: watch::Sender::new(initial), waiter_arrived: Notify::new() });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let this = Arc::clone(&shared);
        tokio::spawn(async move { stopped.run_until_cancelled(this.run(pause, poll)).await });
        (shared, stop.drop_guard())
    }

    async fn run<P, F, E>(&self, pause: Duration, poll: P)
    where
        P: Fn() -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        loop {
            if self.latest.receiver_count() == 0 {
                self.clear_result();
                self.waiter_arrived.notified().await;
            }
            let result = poll().await.map_err(|error| SharedError::from(error.into()));
            self.latest.send_modify(|latest| *latest = Poll { serial: latest.serial + 1, result });
            tokio::time::sleep(pause).await;
        }
    }

    /// A waiter that comes later must not see this result: the server may have lost the data by then.
    fn clear_result(&self) {
        self.latest.send_modify(|latest| latest.result = Ok(T::default()));
    }

    /// Waits until `condition` holds, then returns true. Returns false if it does not hold within `timeout`. A poll
    /// that fails during the wait ends the wait with its error.
    ///
    /// The first result that is checked is either the latest of other waiters, at most one pause and one poll old, or
    /// `T::default()`.
    pub(crate) async fn wait_until(
        &self,
        timeout: Duration,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool, SharedError> {
        self.wait_for(timeout, |value| condition(value).then_some(())).await.map(|found| found.is_some())
    }

    /// Waits until `select` finds something, and returns it; see [`SharedPoll::wait_until`]. `None` if it does not within `timeout`.
    pub(crate) async fn wait_for<U>(
        &self,
        timeout: Duration,
        select: impl Fn(&T) -> Option<U>,
    ) -> Result<Option<U>, SharedError> {
        let mut latest = self.latest.subscribe();
        let first_serial = latest.borrow().serial;
        self.waiter_arrived.notify_one();
        let ends_wait = |poll: &Poll<T>| match &poll.result {
            Ok(value) => select(value).is_some(),
            Err(_) => poll.serial > first_serial,
        };
        match tokio::time::timeout(timeout, latest.wait_for(ends_wait)).await {
            Ok(Ok(poll)) => poll.result.as_ref().map(&select).map_err(Arc::clone),
            // `self` keeps the sender alive, so only the timeout ends up here.
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn all_waiters_share_one_poll_and_without_waiters_there_is_none() {
        let polls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&polls);
        let (poll, _guard) = SharedPoll::start(move || {
            let value = counter.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, std::io::Error>(value) }
        });
        let waits = (0..100).map(|_| poll.wait_until(LONG, |value| *value >= 5));
        assert!(futures_util::future::join_all(waits).await.into_iter().all(|waited| waited.is_ok_and(|holds| holds)));
        assert_eq!(polls.load(Ordering::SeqCst), 5);
        tokio::time::sleep(LONG).await;
        assert!(polls.load(Ordering::SeqCst) <= 6, "it was polled although nobody waited");
        assert!(!poll.wait_until(Duration::ZERO, |value| *value > 1_000).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn all_waiters_receive_a_failure() {
        let (poll, _guard) = SharedPoll::start(|| async { Err::<u64, _>(std::io::Error::other("away")) });
        let waits = (0..100).map(|_| poll.wait_until(LONG, |_| false));
        assert!(futures_util::future::join_all(waits).await.into_iter().all(|waited| waited.is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_cleared_when_nobody_waits() {
        let server = Arc::new(AtomicU64::new(5));
        let polled = Arc::clone(&server);
        let (poll, _guard) = SharedPoll::start(move || {
            let value = polled.load(Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(value) }
        });
        assert!(poll.wait_until(LONG, |value| *value >= 5).await.unwrap());
        tokio::time::sleep(LONG).await;
        server.store(1, Ordering::SeqCst);
        assert!(!poll.wait_until(LONG, |value| *value >= 5).await.unwrap(), "an outdated result was used");
        assert!(poll.wait_until(LONG, |value| *value == 1).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_wait_and_an_old_one_does_not() {
        let fails = Arc::new(AtomicU64::new(1));
        let failing = Arc::clone(&fails);
        let (poll, _guard) = SharedPoll::start(move || {
            let fails = failing.load(Ordering::SeqCst) == 1;
            async move { if fails { Err(std::io::Error::other("away")) } else { Ok(1_u64) } }
        });
        assert!(poll.wait_until(LONG, |_| false).await.unwrap_err().to_string().contains("away"));
        fails.store(0, Ordering::SeqCst);
        assert!(poll.wait_until(LONG, |value| *value == 1).await.unwrap());
    }
}
