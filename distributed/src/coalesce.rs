//! Runs an operation once for all callers that need its outcome at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Merges concurrent calls of one operation into few runs, one at a time. A call that arrives during a run waits for the
/// next run, because the current run may miss a change that the caller has just made. The first waiting caller runs the
/// operation for all that have arrived by then, and all of them get its outcome, also if that is a failure.
#[derive(Debug)]
pub(crate) struct Coalescer<T> {
    /// Least time between the beginnings of two runs.
    min_interval: Duration,
    calls: AtomicU64,
    last_run: Mutex<Option<Run<T>>>,
}

#[derive(Debug)]
struct Run<T> {
    /// How many calls had arrived when it began.
    calls: u64,
    began_at: Instant,
    outcome: T,
}

impl<T: Clone> Coalescer<T> {
    pub(crate) fn new(min_interval: Duration) -> Self {
        Self { min_interval, calls: AtomicU64::new(0), last_run: Mutex::new(None) }
    }

    /// Returns the outcome of a run of `operation` that began after this call. A call lasts two runs at most. If the caller
    /// that runs the operation is cancelled, the next caller runs it.
    pub(crate) async fn run<F: Future<Output = T>>(&self, operation: impl FnOnce() -> F) -> T {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last_run = self.last_run.lock().await;
        if let Some(last_run) = &*last_run {
            if last_run.calls >= call {
                return last_run.outcome.clone();
            }
            tokio::time::sleep_until(last_run.began_at + self.min_interval).await;
        }
        let calls = self.calls.load(Ordering::SeqCst);
        let began_at = Instant::now();
        let outcome = operation().await;
        *last_run = Some(Run { calls, began_at, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, watch};

    use super::*;

    /// An operation that counts its runs, and waits in each until the test lets it finish.
    struct SlowOperation {
        coalescer: Coalescer<u64>,
        begun: watch::Sender<u64>,
        may_finish: Semaphore,
    }

    impl SlowOperation {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                coalescer: Coalescer::new(Duration::ZERO),
                begun: watch::Sender::new(0),
                may_finish: Semaphore::new(0),
            })
        }

        async fn call(self: Arc<Self>) -> u64 {
            let operation = async || {
                self.begun.send_modify(|begun| *begun += 1);
                let run = *self.begun.borrow();
                self.may_finish.acquire().await.unwrap().forget();
                run
            };
            self.coalescer.run(operation).await
        }

        async fn wait_for_run(&self, run: u64) {
            self.begun.subscribe().wait_for(|begun| *begun == run).await.unwrap();
        }

        async fn wait_for_calls(&self, calls: u64) {
            while self.coalescer.calls.load(Ordering::SeqCst) < calls {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_call_during_a_run_gets_the_outcome_of_the_next_run() {
        let slow = SlowOperation::new();
        let first = tokio::spawn(Arc::clone(&slow).call());
        slow.wait_for_run(1).await;
        let during: Vec<_> = (0..3).map(|_| tokio::spawn(Arc::clone(&slow).call())).collect();
        slow.wait_for_calls(4).await;
        slow.may_finish.add_permits(1);
        assert_eq!(first.await.unwrap(), 1);
        slow.may_finish.add_permits(1);
        for call in during {
            assert_eq!(call.await.unwrap(), 2, "one run for all three, begun after they had called");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn runs_keep_the_interval() {
        const INTERVAL: Duration = Duration::from_millis(100);
        let coalescer = Coalescer::new(INTERVAL);
        let began_at = Instant::now();
        coalescer.run(async || ()).await;
        assert_eq!(began_at.elapsed(), Duration::ZERO, "the first run waited");
        coalescer.run(async || ()).await;
        assert_eq!(began_at.elapsed(), INTERVAL);
        tokio::time::sleep(INTERVAL).await;
        coalescer.run(async || ()).await;
        assert_eq!(began_at.elapsed(), 2 * INTERVAL, "a run waited although the interval was over");
    }

    #[tokio::test]
    async fn the_next_caller_takes_over_from_a_cancelled_one() {
        let slow = SlowOperation::new();
        let first = tokio::spawn(Arc::clone(&slow).call());
        slow.wait_for_run(1).await;
        let second = tokio::spawn(Arc::clone(&slow).call());
        slow.wait_for_calls(2).await;
        first.abort();
        slow.may_finish.add_permits(1);
        assert_eq!(second.await.unwrap(), 2);
    }
}
