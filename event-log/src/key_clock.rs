//! The clock by which a sequencer forgets the keys of requests.

use std::time::Duration;

use events::UnixMillis;

/// The longest time between two events that the clock counts. Over a longer one either nothing happened, or the clock of a
/// writer was wrong or was set: the clock of the log cannot know, and counts nothing.
const LONGEST_STEP: Duration = Duration::from_secs(60 * 60);
/// How much earlier than the latest event an event may seem to be without a doubt about the latest one: events of several
/// writers come in any order, and their clocks differ. Longer than [`LONGEST_STEP`], so that two writers whose clocks
/// differ by about an hour do not drive the clock forward.
const LONGEST_DELAY: Duration = Duration::from_secs(2 * 60 * 60);

/// A clock that a log drives: it measures the time between the first event with a key and the latest one, in the log's order.
///
/// It never runs faster than the clocks of the writers, whatever a single event says. So an event that was written by a
/// clock that is years ahead makes no key old. It may run slower: with less than one event an hour it stands still, and
/// keys are remembered for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyClock {
    /// The time since the first event.
    pub elapsed_ms: u64,
    /// The time of the latest event; zero before the first.
    pub latest: UnixMillis,
}

impl KeyClock {
    /// Moves on to the log's next event with a key.
    #[must_use]
    pub const fn at(self, occurred_at: UnixMillis) -> Self {
        let ahead = occurred_at.0.saturating_sub(self.latest.0);
        let behind = self.latest.0.saturating_sub(occurred_at.0);
        if behind > LONGEST_DELAY.as_millis() as u64 || ahead > LONGEST_STEP.as_millis() as u64 {
            Self { latest: occurred_at, ..self }
        } else if ahead > 0 {
            Self { elapsed_ms: self.elapsed_ms.saturating_add(ahead), latest: occurred_at }
        } else {
            self
        }
    }

    /// Keys whose event came at an earlier time of this clock are forgotten.
    pub const fn forgotten_before_ms(self) -> u64 {
        self.elapsed_ms.saturating_sub(super::KEY_MEMORY.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000;
    const HOUR: u64 = 3_600 * SECOND;
    const YEAR: u64 = 365 * 24 * HOUR;
    const NOW: u64 = 50 * YEAR;

    fn elapsed(times: impl IntoIterator<Item = u64>) -> u64 {
        times.into_iter().fold(KeyClock::default(), |clock, time| clock.at(UnixMillis(time))).elapsed_ms
    }

    #[test]
    fn it_measures_the_time_of_a_busy_log() {
        assert_eq!(elapsed((0..=100).map(|minute| NOW + minute * 60 * SECOND)), 100 * 60 * SECOND);
    }

    #[test]
    fn an_event_that_is_years_ahead_or_behind_does_not_move_it() {
        for wrong in [NOW + 10 * YEAR, NOW - 10 * YEAR, 0, u64::MAX] {
            assert_eq!(elapsed([NOW, wrong, NOW + 2 * SECOND, NOW + 3 * SECOND]), SECOND, "{wrong}");
        }
    }

    #[test]
    fn it_goes_on_with_a_clock_that_stays_wrong() {
        assert_eq!(elapsed([NOW, NOW + SECOND, NOW + YEAR, NOW + YEAR + SECOND, NOW + YEAR + 2 * SECOND]), 3 * SECOND);
        assert_eq!(elapsed([NOW, NOW + SECOND, NOW - YEAR, NOW - YEAR + SECOND]), 2 * SECOND);
    }

    /// Two writers take turns for an hour, each with its own clock. The clock must not run much faster than theirs.
    #[test]
    fn clocks_that_differ_do_not_drive_it() {
        for skew in [1, 100, SECOND, HOUR - 1, HOUR, HOUR + 1, 2 * HOUR - 1, 2 * HOUR, 2 * HOUR + 1, YEAR] {
            let times = (0..3_600).flat_map(|second| [NOW + second * SECOND, NOW + second * SECOND + skew]);
            assert!(elapsed(times) <= 2 * HOUR, "{skew}");
        }
    }

    #[test]
    fn a_key_is_remembered_for_its_time() {
        let day = super::super::KEY_MEMORY.as_millis() as u64;
        let clock = KeyClock { elapsed_ms: day + 5, latest: UnixMillis(NOW) };
        assert_eq!((clock.forgotten_before_ms(), KeyClock::default().forgotten_before_ms()), (5, 0));
    }
}
