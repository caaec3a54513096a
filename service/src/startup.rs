//! Waiting for the servers that a process needs, when it starts before they do.

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::health::Part;
use crate::telemetry::chain;

/// Pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. There are attempts for as long as the server is away, at this pace.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest wait for an attempt that is under way at the stop and must not be left half done. Containers get half as long
/// again before they are killed.
const LAST_ATTEMPT: Duration = Duration::from_secs(20);
/// How often a part that is ready is looked at again.
const LOOK: Duration = Duration::from_secs(2);

/// Tries until it succeeds, and tells `part` of every failure; `None` if `stop` came first, which ends an attempt where it
/// is.
///
/// # Errors
/// A failure that `is_lasting`: it stays until somebody changes something.
pub async fn retry_until_ready<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    is_lasting: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    retry_with_grace(part, stop, Duration::ZERO, is_lasting, attempt).await
}

/// The same with attempts that must not be left half done: one that is under way when `stop` comes is waited for, for
/// 20 s at most.
///
/// # Errors
/// A failure that `is_lasting`: it stays until somebody changes something.
pub async fn retry_uninterrupted<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    is_lasting: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    retry_with_grace(part, stop, LAST_ATTEMPT, is_lasting, attempt).await
}

async fn retry_with_grace<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    last_attempt: Duration,
    is_lasting: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    let mut pause = FIRST_PAUSE;
    while let Some(outcome) = run_until_stopped(stop, last_attempt, attempt()).await {
        match outcome {
            // Nothing more is begun after the stop.
            Ok(done) => return Ok(Some(done).filter(|_| !stop.is_cancelled())),
            Err(error) if is_lasting(&error) => return Err(error),
            Err(error) => {
                let reason = chain(&error);
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

/// What comes of `work`, unless it takes longer than `grace` from the stop on.
async fn run_until_stopped<T>(stop: &CancellationToken, grace: Duration, work: impl Future<Output = T>) -> Option<T> {
    let given_up = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        () = given_up => None,
        outcome = work => Some(outcome),
    }
}

/// Looks again and again whether a part is well, until `stop`.
pub async fn monitor<E: Error, F: Future<Output = Result<(), E>>>(
    part: Part,
    stop: CancellationToken,
    look: impl Fn() -> F,
) {
    while let Some(outcome) = stop.run_until_cancelled(look()).await {
        match outcome {
            Ok(()) => part.ready(),
            Err(error) => part.failed(chain(&error)),
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
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
        is_lasting: bool,
    }

    const fn is_lasting(failure: &Failure) -> bool {
        failure.is_lasting
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_by_is_waited_for_and_what_lasts_is_told() {
        let (readiness, stop, attempts) = (Readiness::new(), CancellationToken::new(), Cell::new(0));
        let part = readiness.part("server");
        let third_time = || {
            attempts.set(attempts.get() + 1);
            let attempt = attempts.get();
            async move { if attempt < 3 { Err(Failure { is_lasting: false }) } else { Ok(attempt) } }.boxed()
        };
        assert_eq!(retry_until_ready(&part, &stop, is_lasting, third_time).await.unwrap(), Some(3));
        let lasting = || async { Err::<(), _>(Failure { is_lasting: true }) }.boxed();
        assert!(retry_until_ready(&part, &stop, is_lasting, lasting).await.unwrap_err().is_lasting);
        stop.cancel();
        let never = || async { Err::<(), _>(Failure { is_lasting: false }) }.boxed();
        assert!(retry_until_ready(&part, &stop, is_lasting, never).await.unwrap().is_none());
    }

    /// Whether an attempt that takes `takes` came to its end although it was under way at the stop, and how long that was
    /// waited for.
    async fn stopped_on_the_way(takes: Duration) -> (bool, Duration) {
        let (readiness, stop, is_done) = (Readiness::new(), CancellationToken::new(), AtomicBool::new(false));
        let (part, began, is_done) = (readiness.part("server"), Instant::now(), &is_done);
        let attempt = || {
            async move {
                tokio::time::sleep(takes).await;
                is_done.store(true, Ordering::SeqCst);
                Ok::<_, Failure>(())
            }
            .boxed()
        };
        let stopping = async {
            tokio::task::yield_now().await;
            stop.cancel();
        };
        let (prepared, ()) = tokio::join!(retry_with_grace(&part, &stop, LAST_ATTEMPT, is_lasting, attempt), stopping);
        assert_eq!(prepared.unwrap(), None, "it went on after the stop");
        (is_done.load(Ordering::SeqCst), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_not_left_half_done_at_the_stop_unless_it_takes_too_long() {
        assert_eq!(stopped_on_the_way(LAST_ATTEMPT / 2).await, (true, LAST_ATTEMPT / 2));
        assert_eq!(stopped_on_the_way(2 * LAST_ATTEMPT).await, (false, LAST_ATTEMPT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_as_it_was_found_last() {
        let (readiness, stop, is_well) = (Readiness::new(), CancellationToken::new(), Cell::new(true));
        let look = || async { if is_well.get() { Ok(()) } else { Err(Failure { is_lasting: false }) } };
        let looking = monitor(readiness.part("server"), stop.clone(), look);
        let changes = async {
            tokio::time::sleep(LOOK / 2).await;
            assert!(readiness.is_ready());
            is_well.set(false);
            tokio::time::sleep(LOOK).await;
            assert!(!readiness.is_ready());
            is_well.set(true);
            tokio::time::sleep(LOOK).await;
            assert!(readiness.is_ready());
            stop.cancel();
        };
        tokio::join!(looking, changes);
    }
}
