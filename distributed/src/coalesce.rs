//! SharedPoll a server once for everybody who wants to know at the moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// One round at a time: who joins during one waits for the next, which begins after the joining. Whoever comes first runs
/// it for all who have joined by then, and all get its outcome, also where that is a failure.
///
/// Joining a round half way would be wrong: what was done just before the joining could be missing from its outcome.
#[derive(Debug)]
pub(crate) struct Coalescer<T> {
    /// From the beginning of one round to that of the next at least so much time passes.
    pace: Duration,
    joined: AtomicU64,
    last: Mutex<Option<Last<T>>>,
}

/// The last round.
#[derive(Debug)]
struct Last<T> {
    /// How many had joined when it began.
    joined: u64,
    began: Instant,
    outcome: T,
}

impl<T: Clone> Coalescer<T> {
    pub(crate) fn new(pace: Duration) -> Self {
        Self { pace, joined: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// The outcome of a `run` that began after this call. It is bounded as two of them are; a caller that gives up
    /// leaves the round to the next.
    pub(crate) async fn join<F: Future<Output = T>>(&self, run: impl FnOnce() -> F) -> T {
        let ticket = self.joined.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some(last) = &*last {
            if last.joined >= ticket {
                return last.outcome.clone();
            }
            tokio::time::sleep_until(last.began + self.pace).await;
        }
        let (joined, began) = (self.joined.load(Ordering::SeqCst), Instant::now());
        let outcome = run().await;
        *last = Some(Last { joined, began, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, watch};

    use super::*;

    /// A server whose answers are counted, and wait until they are let through.
    struct Slow {
        rounds: Coalescer<u64>,
        begun: watch::Sender<u64>,
        let_through: Semaphore,
    }

    impl Slow {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                rounds: Coalescer::new(Duration::ZERO),
                begun: watch::Sender::new(0),
                let_through: Semaphore::new(0),
            })
        }

        async fn ask(self: Arc<Self>) -> u64 {
            let run = async || {
                self.begun.send_modify(|begun| *begun += 1);
                let round = *self.begun.borrow();
                self.let_through.acquire().await.unwrap().forget();
                round
            };
            self.rounds.join(run).await
        }

        async fn begun(&self, round: u64) {
            self.begun.subscribe().wait_for(|begun| *begun == round).await.unwrap();
        }

        async fn joined(&self, callers: u64) {
            while self.rounds.joined.load(Ordering::SeqCst) < callers {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn who_joins_during_a_round_gets_the_next_one() {
        let slow = Slow::new();
        let first = tokio::spawn(Arc::clone(&slow).ask());
        slow.begun(1).await;
        let during: Vec<_> = (0..3).map(|_| tokio::spawn(Arc::clone(&slow).ask())).collect();
        slow.joined(4).await;
        slow.let_through.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        slow.let_through.add_permits(1);
        for joined in during {
            assert_eq!(joined.await.unwrap(), 2, "one round for all three, begun after they had joined");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_keep_their_pace() {
        const PACE: Duration = Duration::from_millis(100);
        let rounds = Coalescer::new(PACE);
        let began = Instant::now();
        rounds.join(async || ()).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing keeps the first");
        rounds.join(async || ()).await;
        assert_eq!(began.elapsed(), PACE);
        tokio::time::sleep(PACE).await;
        rounds.join(async || ()).await;
        assert_eq!(began.elapsed(), 2 * PACE, "nor one that comes late enough");
    }

    #[tokio::test]
    async fn a_round_that_is_given_up_is_run_by_the_next() {
        let slow = Slow::new();
        let first = tokio::spawn(Arc::clone(&slow).ask());
        slow.begun(1).await;
        let second = tokio::spawn(Arc::clone(&slow).ask());
        slow.joined(2).await;
        first.abort();
        slow.let_through.add_permits(1);
        assert_eq!(second.await.unwrap(), 2);
    }
}
