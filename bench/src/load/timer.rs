//! Ends a wait for answers when the next request is due.
//!
//! The time-out of `epoll_wait` has milliseconds, which would be most of the latency that is measured. Linux has timers
//! of nanoseconds that can be waited for as a connection can. Elsewhere the time-out is what there is.

use std::time::{Duration, Instant};

use mio::{Registry, Token};

#[cfg(target_os = "linux")]
pub(super) struct Timer {
    timer: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Timer {
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        use std::os::fd::AsRawFd;

        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), token, mio::Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Raises an event at `due`, and none for an earlier call.
    pub(super) fn set(&self, due: Instant) -> std::io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let nanoseconds = |time: Duration| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: nanoseconds(Duration::ZERO), it_value: nanoseconds(left) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// The longest that a wait may last.
    pub(super) fn time_out(_: Instant, longest: Duration) -> Duration {
        longest
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(super) fn new(_: &Registry, _: Token) -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn set(&self, _: Instant) -> std::io::Result<()> {
        Ok(())
    }

    /// The longest that a wait may last.
    pub(super) fn time_out(due: Instant, longest: Duration) -> Duration {
        due.saturating_duration_since(Instant::now()).min(longest)
    }
}
