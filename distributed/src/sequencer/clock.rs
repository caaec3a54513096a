//! The clock by which reservations lapse.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a reservation is valid, called T: a write whose append is acknowledged later is not acknowledged to its client.
pub const RESERVATION_LIFE: Duration = Duration::from_secs(5);

/// How long a fence waits until every reservation of the former epoch has lapsed: 1.1 T.
pub(super) const FENCE_WAIT: Duration = Duration::from_millis(5_500);

const _: () = assert!(FENCE_WAIT.as_millis() * 10 >= RESERVATION_LIFE.as_millis() * 11, "a fence waits 1.1 T");

/// A moment by CLOCK_BOOTTIME, which goes on while the machine is suspended; [`std::time::Instant`] does not. No clock of a
/// virtual machine goes on while its host stops it: docs/numbers.md names that assumption.
#[derive(Debug, Clone, Copy)]
pub(super) struct BootInstant(Duration);

impl BootInstant {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // The clock begins at 0, and its nanoseconds are below one second.
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    pub(super) const fn since_boot(self) -> Duration {
        self.0
    }

    pub(super) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Whether a reservation that was requested at this moment has lapsed.
    pub(super) fn is_past_reservation_life(self) -> bool {
        self.elapsed() > RESERVATION_LIFE
    }
}
