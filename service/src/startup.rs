//! Retries until the servers that a process needs are there. The process may start before its servers.

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror_ext::AsReport;
use tokio_util::sync::CancellationToken;

use crate::health::Part;

/// Pause after the first failure. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. Attempts go on at this pace for as long as the server is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait at the stop for an attempt that must not be left half done. Containers are killed after 30 s.
const LAST_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two checks of a part.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Attempts something until it succeeds, and marks `part` as failed after every failure. Returns `None` on `stop`, which
/// also cancels an attempt in progress.
///
/// # Errors
/// A failure that `is_permanent`: it stays until somebody changes something.
pub async fn retry_until_ready<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    is_permanent: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    retry_with_grace(part, stop, Duration::ZERO, is_permanent, attempt).await
}

/// Like [`retry_until_ready`], for attempts that must not be left half done: on `stop`, an attempt in progress gets 20 s to
/// end.
pub async fn retry_uninterrupted<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    is_permanent: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    retry_with_grace(part, stop, LAST_ATTEMPT_TIMEOUT, is_permanent, attempt).await
}

async fn retry_with_grace<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    grace: Duration,
    is_permanent: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    let mut pause = FIRST_PAUSE;
    while let Some(outcome) = run_until_stopped(stop, grace, attempt()).await {
        match outcome {
            // After the stop, the caller must not begin anything with the result.
            Ok(done) => return Ok(Some(done).filter(|_| !stop.is_cancelled())),
            Err(error) if is_permanent(&error) => return Err(error),
            Err(error) => {
                let reason = error.to_report_string();
                tracing::warn!(%reason, "not ready yet; trying again");
                part.failed(reason);
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(None);
        }
        pause = LONGEST_PAUSE.min(2 * pause);
    }
    Ok(None)
}

/// Returns the output of `work`, or `None` if `work` has not ended `grace` after the stop.
async fn run_until_stopped<T>(stop: &CancellationToken, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
    let grace_over = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        () = grace_over => None,
        output = work => Some(output),
    }
}

/// Checks a part at intervals and marks it as ready or failed, until `stop`.
pub async fn monitor<E: Error, F: Future<Output = Result<(), E>>>(
    part: Part,
    stop: CancellationToken,
    check: impl Fn() -> F,
) {
    while let Some(outcome) = stop.run_until_cancelled(check()).await {
        match outcome {
            Ok(()) => part.ready(),
            Err(error) => part.failed(error.to_report_string()),
        }
        if stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::health::Readiness;

    #[derive(Debug, thiserror::Error)]
    #[error("away")]
    struct Failure {
        is_permanent: bool,
    }

    const fn is_permanent(failure: &Failure) -> bool {
        failure.is_permanent
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporary_failure_is_retried_and_a_permanent_one_returned() {
        let readiness = Readiness::new();
        let stop = CancellationToken::new();
        let attempts = Cell::new(0);
        let part = readiness.part("server");
        let third_succeeds = || {
            attempts.set(attempts.get() + 1);
            let attempt = attempts.get();
            async move { if attempt < 3 { Err(Failure { is_permanent: false }) } else { Ok(attempt) } }.boxed()
        };
        assert_eq!(retry_until_ready(&part, &stop, is_permanent, third_succeeds).await.unwrap(), Some(3));
        let permanent = || async { Err::<(), _>(Failure { is_permanent: true }) }.boxed();
        assert!(retry_until_ready(&part, &stop, is_permanent, permanent).await.unwrap_err().is_permanent);
        stop.cancel();
        let never = || async { Err::<(), _>(Failure { is_permanent: false }) }.boxed();
        assert!(retry_until_ready(&part, &stop, is_permanent, never).await.unwrap().is_none());
    }

    /// Stops during an attempt that takes `duration`. Returns whether the attempt ended, and how long it got.
    async fn stop_during_attempt(duration: Duration) -> (bool, Duration) {
        let part = Readiness::new().part("server");
        let stop = CancellationToken::new();
        let is_done = &AtomicBool::new(false);
        let started = Instant::now();
        let attempt = || {
            async move {
                tokio::time::sleep(duration).await;
                is_done.store(true, Ordering::SeqCst);
                Ok::<_, Failure>(())
            }
            .boxed()
        };
        let stopping = async {
            tokio::task::yield_now().await;
            stop.cancel();
        };
        let (outcome, ()) =
            tokio::join!(retry_with_grace(&part, &stop, LAST_ATTEMPT_TIMEOUT, is_permanent, attempt), stopping);
        assert_eq!(outcome.unwrap(), None, "it went on after the stop");
        (is_done.load(Ordering::SeqCst), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_not_left_half_done_at_the_stop_unless_it_takes_too_long() {
        assert_eq!(stop_during_attempt(LAST_ATTEMPT_TIMEOUT / 2).await, (true, LAST_ATTEMPT_TIMEOUT / 2));
        assert_eq!(stop_during_attempt(2 * LAST_ATTEMPT_TIMEOUT).await, (false, LAST_ATTEMPT_TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_has_the_outcome_of_its_last_check() {
        let readiness = Readiness::new();
        let stop = CancellationToken::new();
        let is_well = Cell::new(true);
        let check = || async { if is_well.get() { Ok(()) } else { Err(Failure { is_permanent: false }) } };
        let monitoring = monitor(readiness.part("server"), stop.clone(), check);
        let changes = async {
            tokio::time::sleep(CHECK_INTERVAL / 2).await;
            assert!(readiness.is_ready());
            is_well.set(false);
            tokio::time::sleep(CHECK_INTERVAL).await;
            assert!(!readiness.is_ready());
            is_well.set(true);
            tokio::time::sleep(CHECK_INTERVAL).await;
            assert!(readiness.is_ready());
            stop.cancel();
        };
        tokio::join!(monitoring, changes);
    }
}
