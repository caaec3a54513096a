//! When the requests of a load are due.

use std::time::{Duration, Instant};

/// The moments at which requests are due: evenly spaced from the beginning until, but not at, the end.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    began: Instant,
    seconds_between: f64,
    total: u64,
    taken: u64,
}

impl Schedule {
    pub(super) fn new(began: Instant, per_second: f64, lasts: Duration) -> Self {
        // Casting a float to an integer saturates, and a load has far fewer requests than either counts.
        let total = (lasts.as_secs_f64() * per_second).ceil() as u64;
        Self { began, seconds_between: per_second.recip(), total, taken: 0 }
    }

    /// When the next request is due. `None` after the last.
    pub(super) fn next(&self) -> Option<Instant> {
        let since = Duration::from_secs_f64(self.taken as f64 * self.seconds_between);
        (self.taken < self.total).then(|| self.began + since)
    }

    /// Takes the next request if it is due, and returns when it was due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next().filter(|due| *due <= now)?;
        self.taken += 1;
        Some(due)
    }

    /// How many requests were not taken.
    pub(super) fn waiting(&self) -> u64 {
        self.total - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances_however_late_they_are_taken() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 4.0, Duration::from_secs(1));
        let after = |ms| began + Duration::from_millis(ms);
        assert_eq!(schedule.take_due(began), Some(began));
        assert_eq!(schedule.take_due(after(249)), None);
        assert_eq!(schedule.next(), Some(after(250)));
        assert_eq!(schedule.take_due(after(900)), Some(after(250)));
        assert_eq!(schedule.take_due(after(900)), Some(after(500)));
        assert_eq!(schedule.waiting(), 1);
        assert_eq!(schedule.take_due(after(900)), Some(after(750)));
        assert_eq!((schedule.take_due(after(2_000)), schedule.next(), schedule.waiting()), (None, None, 0));
    }

    #[test]
    fn a_rate_that_does_not_divide_the_time_keeps_its_mean() {
        let began = Instant::now();
        let mut schedule = Schedule::new(began, 3_333.0, Duration::from_secs(3));
        let mut last = began;
        let mut requests = 0_u32;
        while let Some(due) = schedule.take_due(began + Duration::from_secs(3)) {
            (last, requests) = (due, requests + 1);
        }
        assert_eq!(requests, 9_999);
        assert!(last < began + Duration::from_secs(3) && last > began + Duration::from_millis(2_999));
    }
}
