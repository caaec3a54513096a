//! The retries of whoever reads a log from its start, and would lose much by giving up.

use std::time::Duration;

use backon::ExponentialBuilder;

/// Attempts before the caller gives up.
const MAX_ATTEMPTS: usize = 12;
/// Pause after the first failed attempt; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pauses between attempts.
pub(crate) const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(FIRST_PAUSE)
    .with_max_delay(LONGEST_PAUSE)
    .with_max_times(MAX_ATTEMPTS)
    .with_jitter();
