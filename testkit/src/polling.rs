//! Waiting for a condition by polling it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longest wait for a condition, unless the caller says otherwise. A machine that also compiles needs most of it for long texts.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls until the answer is `Ok`, and returns it. Panics with the last error after a minute.
pub async fn eventually<T, E: Debug>(what: &str, poll: impl AsyncFnMut() -> Result<T, E>) -> T {
    eventually_within(DEADLINE, what, poll).await
}

/// Polls until the answer is `Ok`, and returns it. Panics with the last error when the time is over.
pub async fn eventually_within<T, E: Debug>(
    within: Duration,
    what: &str,
    mut poll: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match poll().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "no {what} within {within:?}, but {error:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Polls until a condition holds. Panics when the time is over.
pub async fn until(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually_within(within, what, async || if holds().await { Ok(()) } else { Err("not yet") }).await;
}
