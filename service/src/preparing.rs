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
/// How often a part that is ready is looked at again.
const LOOK: Duration = Duration::from_secs(2);

/// Tries until it succeeds, and tells `part` of every failure; `None` if `stop` came first.
///
/// # Errors
/// A failure that `is_lasting`: it stays until somebody changes something.
pub async fn prepared<'a, T, E: Error>(
    part: &Part,
    stop: &CancellationToken,
    is_lasting: fn(&E) -> bool,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, E>>,
) -> Result<Option<T>, E> {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(outcome) = stop.run_until_cancelled(attempt()).await else {
            return Ok(None);
        };
        match outcome {
            Ok(done) => return Ok(Some(done)),
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
}

/// Looks again and again whether a part is well, until `stop`.
pub async fn look_after<E: Error, F: Future<Output = Result<(), E>>>(
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

    use futures_util::FutureExt;

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
        assert_eq!(prepared(&part, &stop, is_lasting, third_time).await.unwrap(), Some(3));
        let lasting = || async { Err::<(), _>(Failure { is_lasting: true }) }.boxed();
        assert!(prepared(&part, &stop, is_lasting, lasting).await.unwrap_err().is_lasting);
        stop.cancel();
        let never = || async { Err::<(), _>(Failure { is_lasting: false }) }.boxed();
        assert!(prepared(&part, &stop, is_lasting, never).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_as_it_was_found_last() {
        let (readiness, stop, is_well) = (Readiness::new(), CancellationToken::new(), Cell::new(true));
        let look = || async { if is_well.get() { Ok(()) } else { Err(Failure { is_lasting: false }) } };
        let looking = look_after(readiness.part("server"), stop.clone(), look);
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
