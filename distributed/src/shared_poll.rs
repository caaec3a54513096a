//! SharedPoll a server again and again, once for everybody who waits for its answer to become what it must.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pause between two askings, while somebody waits.
const PAUSE: Duration = Duration::from_millis(20);

/// An adapter's own error, which several who wait are told of.
type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Answers of a server, fresh as long as somebody waits for them.
#[derive(Debug)]
pub(crate) struct SharedPoll<T> {
    asked: watch::Sender<Asked<T>>,
    wanted: Notify,
}

/// The last asking.
#[derive(Debug)]
struct Asked<T> {
    /// How many there were before.
    serial: u64,
    answer: Result<T, SharedError>,
}

impl<T: Default + Send + Sync + 'static> SharedPoll<T> {
    /// Asks by `ask` while somebody waits, until the guard is dropped. Must be called in a tokio runtime.
    pub(crate) fn start<A, F, E>(ask: A) -> (Arc<Self>, DropGuard)
    where
        A: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let nothing = Asked { serial: 0, answer: Ok(T::default()) };
        let asking = Arc::new(Self { asked: watch::Sender::new(nothing), wanted: Notify::new() });
        let stop = CancellationToken::new();
        let (this, stopped) = (Arc::clone(&asking), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(this.run(ask)).await });
        (asking, stop.drop_guard())
    }

    async fn run<A, F, E>(&self, ask: A)
    where
        A: Fn() -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        loop {
            if self.asked.receiver_count() == 0 {
                self.forget();
                self.wanted.notified().await;
            }
            let answer = ask().await.map_err(|error| SharedError::from(error.into()));
            self.asked.send_modify(|asked| *asked = Asked { serial: asked.serial + 1, answer });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Nobody may be told tomorrow what the server said today: what was there may be gone by then.
    fn forget(&self) {
        self.asked.send_modify(|asked| asked.answer = Ok(T::default()));
    }

    /// Waits until the answer is as it must be: true once it is, false if it is not after `within`. A failure during the
    /// wait ends it. The first answer that is looked at is the last that others who waited were given: a pause ago and what
    /// an asking takes, or else nothing, `T::default()`.
    pub(crate) async fn until(&self, within: Duration, is_there: impl Fn(&T) -> bool) -> Result<bool, SharedError> {
        let mut asked = self.asked.subscribe();
        let before = asked.borrow().serial;
        self.wanted.notify_one();
        let ends = |asked: &Asked<T>| match &asked.answer {
            Ok(answer) => is_there(answer),
            Err(_) => asked.serial > before,
        };
        match tokio::time::timeout(within, asked.wait_for(ends)).await {
            Ok(Ok(asked)) => asked.answer.as_ref().map(|_| true).map_err(Arc::clone),
            // The sender lives as long as this value does: only time ends the wait in vain.
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_who_wait_and_nobody_when_none_does() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let (asking, _guard) = SharedPoll::start(move || {
            let answer = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, std::io::Error>(answer) }
        });
        let waits = (0..100).map(|_| asking.until(LONG, |answer| *answer >= 5));
        assert!(futures_util::future::join_all(waits).await.into_iter().all(|waited| waited.is_ok_and(|is| is)));
        assert_eq!(asked.load(Ordering::SeqCst), 5);
        tokio::time::sleep(LONG).await;
        assert!(asked.load(Ordering::SeqCst) <= 6, "it was asked although nobody waited");
        assert!(!asking.until(Duration::ZERO, |answer| *answer > 1_000).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_wait() {
        let (asking, _guard) = SharedPoll::start(|| async { Err::<u64, _>(std::io::Error::other("away")) });
        let waits = (0..100).map(|_| asking.until(LONG, |_| false));
        assert!(futures_util::future::join_all(waits).await.into_iter().all(|waited| waited.is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten_when_nobody_waits() {
        let server = Arc::new(AtomicU64::new(5));
        let asked = Arc::clone(&server);
        let (asking, _guard) = SharedPoll::start(move || {
            let answer = asked.load(Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(answer) }
        });
        assert!(asking.until(LONG, |answer| *answer >= 5).await.unwrap());
        tokio::time::sleep(LONG).await;
        server.store(1, Ordering::SeqCst);
        assert!(!asking.until(LONG, |answer| *answer >= 5).await.unwrap(), "what was is taken for what is");
        assert!(asking.until(LONG, |answer| *answer == 1).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_ends_the_wait_and_an_old_one_does_not() {
        let fails = Arc::new(AtomicU64::new(1));
        let failing = Arc::clone(&fails);
        let (asking, _guard) = SharedPoll::start(move || {
            let fails = failing.load(Ordering::SeqCst) == 1;
            async move { if fails { Err(std::io::Error::other("away")) } else { Ok(1_u64) } }
        });
        assert!(asking.until(LONG, |_| false).await.unwrap_err().to_string().contains("away"));
        fails.store(0, Ordering::SeqCst);
        assert!(asking.until(LONG, |answer| *answer == 1).await.unwrap());
    }
}
