//! The clock by which a sequencer forgets the keys of requests.

use std::time::Duration;

use events::UnixMillis;

/// The most that one event moves the clock on. After a longer time either nothing happened, or the clock of a writer is
/// ahead: the log cannot know which.
const LONGEST_STEP: Duration = Duration::from_secs(60 * 60);
/// By how much an event may pass the mark. If it passes it by more, the clock of a writer is wrong or was set. Long enough for
/// a log that is written once a week.
const LONGEST_GAP: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// How far above a time that is out of bounds the mark is set. More than right clocks differ, so that writers with right
/// clocks do not drive the clock while a wrong one comes between them.
const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A clock that a log drives: about the time between the first event with a key and the latest one, in the log's order.
///
/// Only an event that passes the mark, the highest time until then, moves the clock on. So writers whose clocks differ do
/// not drive it, however many they are. After an event whose time is out of bounds, the mark is set a day above that
/// time: the clock stands still until the writers have reached it, and keys are remembered for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyClock {
    /// The time of this clock since the first event.
    pub elapsed_ms: u64,
    /// The mark: the clock moves on when an event passes this time. Zero before the first event.
    pub latest: UnixMillis,
}

impl KeyClock {
    /// Moves on to the log's next event with a key.
    #[must_use]
    pub const fn advance(self, occurred_at: UnixMillis) -> Self {
        let (step, gap, margin) =
            (LONGEST_STEP.as_millis() as u64, LONGEST_GAP.as_millis() as u64, MARGIN.as_millis() as u64);
        let ahead = occurred_at.0.saturating_sub(self.latest.0);
        let behind = self.latest.0.saturating_sub(occurred_at.0);
        if self.latest.0 == 0 {
            Self { latest: occurred_at, ..self }
        } else if ahead > gap || behind > gap + 2 * margin {
            Self { latest: UnixMillis(occurred_at.0.saturating_add(margin)), ..self }
        } else if ahead > 0 {
            let counted = if ahead < step { ahead } else { step };
            Self { elapsed_ms: self.elapsed_ms.saturating_add(counted), latest: occurred_at }
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
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const SECOND: u64 = 1_000;
    const HOUR: u64 = 3_600 * SECOND;
    const YEAR: u64 = 365 * 24 * HOUR;
    const NOW: u64 = 50 * YEAR;

    const DAY: u64 = 24 * HOUR;
    const GAP: u64 = 8 * DAY;

    fn elapsed(times: impl IntoIterator<Item = u64>) -> u64 {
        times.into_iter().fold(KeyClock::default(), |clock, time| clock.advance(UnixMillis(time))).elapsed_ms
    }

    #[test]
    fn it_measures_the_time_of_a_busy_log() {
        assert_eq!(elapsed((0..=100).map(|minute| NOW + minute * 60 * SECOND)), 100 * 60 * SECOND);
    }

    /// Otherwise the keys of such a log would be kept for months.
    #[test]
    fn it_moves_on_with_bursts_after_quiet_days() {
        for quiet_days in 1..=8 {
            let bursts = (0..24).flat_map(|burst| (0..600).map(move |second| (burst, second)));
            let times = bursts.map(|(burst, second)| NOW + burst * quiet_days * DAY + second * SECOND);
            assert!(elapsed(times) > 24 * HOUR, "{quiet_days}");
        }
    }

    #[test]
    fn an_event_that_is_years_ahead_or_behind_does_not_move_it() {
        for wrong in [NOW + 10 * YEAR, NOW - 10 * YEAR, 1, u64::MAX] {
            assert_eq!(elapsed([NOW, wrong, NOW + 2 * SECOND, NOW + 3 * SECOND]), 0, "{wrong}");
        }
    }

    #[test]
    fn it_goes_on_after_an_event_that_is_years_ahead_or_behind() {
        for wrong in [NOW + 10 * YEAR, NOW - 10 * YEAR, 1, u64::MAX] {
            let hours = (1..=24 + 26).map(|hour| NOW + hour * HOUR);
            let moved = elapsed([NOW, wrong].into_iter().chain(hours));
            assert_eq!(moved, 25 * HOUR, "{wrong}");
        }
    }

    #[test]
    fn it_goes_on_with_a_clock_that_stays_wrong() {
        for stays in [NOW + YEAR, NOW - YEAR] {
            let hours = (0..=24 + 26).map(|hour| stays + hour * HOUR);
            assert_eq!(elapsed([NOW, NOW + SECOND].into_iter().chain(hours)), 26 * HOUR + SECOND);
        }
    }

    /// Writers take turns for an hour, each with its own clock.
    #[test]
    fn clocks_that_differ_do_not_drive_it() {
        let minutes = |offsets: &[u64]| offsets.iter().map(|minute| minute * 60 * SECOND).collect::<Vec<_>>();
        let (months, years) = (60 * 24 * 60, 365 * 24 * 60);
        for offsets in [
            minutes(&[0, 59, 118, 177]),
            minutes(&[0, 59, years]),
            minutes(&[years, years + 59, 0]),
            minutes(&[0, 59, months]),
            (0..30).map(|writer| writer * 59 * 60 * SECOND / 30).collect(),
        ] {
            let times = (0..3_600).flat_map(|second| offsets.iter().map(move |offset| NOW + second * SECOND + offset));
            let spread = offsets.iter().filter(|offset| **offset < DAY).max().unwrap();
            assert!(elapsed(times) <= HOUR + spread, "{offsets:?}");
        }
    }

    /// The times of events that writers with these clocks write after these pauses, and the time that has passed.
    fn take_turns(clocks: &[u64], events: Vec<(u64, Index)>) -> (Vec<u64>, u64) {
        let mut passed = 0;
        let times = events.into_iter().map(|(pause, writer)| {
            passed += pause;
            writer.get(clocks) + passed
        });
        (times.collect(), passed)
    }

    proptest! {
        /// Any number of writers take turns in any order, with clocks that differ by up to 8 days.
        #[test]
        fn any_number_of_writers_do_not_drive_it(
            clocks in proptest::collection::vec(NOW..NOW + GAP, 1..12),
            events in proptest::collection::vec((0..HOUR, any::<Index>()), 1..400),
        ) {
            let (times, passed) = take_turns(&clocks, events);
            prop_assert!(elapsed(times) <= passed + GAP);
        }

        /// The clocks of all writers but one differ by up to an hour. That one may be wrong by any time.
        #[test]
        fn a_wrong_writer_among_others_does_not_drive_it(
            mut clocks in proptest::collection::vec(NOW..NOW + HOUR, 1..12),
            wrong in prop_oneof![NOW - 3 * GAP..NOW + 3 * GAP, NOW + GAP - HOUR..NOW + GAP + 3 * DAY, NOW - 20 * YEAR..NOW + 20 * YEAR],
            events in proptest::collection::vec((0..HOUR, any::<Index>()), 1..400),
        ) {
            clocks.push(wrong);
            let (times, passed) = take_turns(&clocks, events);
            prop_assert!(elapsed(times) <= passed + 3 * HOUR);
        }

        /// Whatever the clocks were, a log whose clocks are right from then on forgets keys again.
        #[test]
        fn it_goes_on_whatever_came_before(
            before in proptest::collection::vec(any::<u64>(), 0..20),
            pauses in proptest::collection::vec(0..HOUR, 1..400),
        ) {
            let passed: u64 = pauses.iter().sum();
            let mut time = NOW;
            let after = pauses.into_iter().map(|pause| { time += pause; time });
            let moved = elapsed(before.iter().copied().chain(after)) - elapsed(before.iter().copied());
            prop_assert!(moved + GAP + 2 * DAY + HOUR >= passed, "{moved} of {passed}");
        }
    }

    #[test]
    fn a_key_is_remembered_for_its_time() {
        let day = super::super::KEY_MEMORY.as_millis() as u64;
        let clock = KeyClock { elapsed_ms: day + 5, latest: UnixMillis(NOW) };
        assert_eq!((clock.forgotten_before_ms(), KeyClock::default().forgotten_before_ms()), (5, 0));
    }
}
