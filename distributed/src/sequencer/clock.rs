//! The clock that reservations are held against.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a reservation is good for, called T: an append that is acknowledged later is not told of.
pub const RESERVATION_LIFE: Duration = Duration::from_secs(5);

/// How long a fence waits until no reservation of the epoch before can be told of any more: 1.1 T.
pub(super) const FENCE_WAIT: Duration = Duration::from_millis(5_500);

const _: () = assert!(FENCE_WAIT.as_millis() * 10 >= RESERVATION_LIFE.as_millis() * 11, "a fence waits 1.1 T");

/// A moment by CLOCK_BOOTTIME, which goes on while the machine is suspended; [`std::time::Instant`] does not. A virtual
/// machine that its host stops has no clock that goes on: docs/numbers.md names that among what is assumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(Duration);

impl Moment {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // The clock begins at 0, and its nanoseconds are below one second.
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    pub(super) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Whether what was reserved at this moment is no longer good.
    pub(super) fn is_too_long_ago(self) -> bool {
        self.elapsed() > RESERVATION_LIFE
    }
}
