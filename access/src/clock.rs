//! The clock that decides how long something is used. Credentials expire by [`events::UnixMillis::now`].

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock that goes on while the machine is suspended; [`std::time::Instant`] does not. A machine that wakes up uses nothing
/// that it knew before.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
/// Elsewhere this clock does so: macOS has no other of that name.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment since the machine has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootInstant(Duration);

impl BootInstant {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(CLOCK);
        // The clock begins at 0, and its nanoseconds are below one second.
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    /// How long ago `earlier` was; nothing if it was later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment this long ago; `None` if the machine had not started.
    pub(crate) const fn before(self, age: Duration) -> Option<Self> {
        match self.0.checked_sub(age) {
            Some(since_start) => Some(Self(since_start)),
            None => None,
        }
    }

    #[cfg(test)]
    pub(crate) const fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}
