//! Notices that the clock of Redis was set. Redis expires keys by that clock: if it is set ahead, keys are forgotten too early.

use std::time::Duration;

/// If the clock steps by more than this, at once or bit by bit, the epoch ends. A smaller step shortens the memory of keys by
/// that much.
const LONGEST_STEP: Duration = Duration::from_secs(10 * 60);
/// One second of this many may be a difference in the speed of two clocks. It is no step, and does not add up.
const DRIFT: u32 = 1_000;

/// What the clock of Redis should show, from its looks since the epoch began.
#[derive(Debug, Default)]
pub(super) struct RedisTime {
    expected: Option<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    redis: Duration,
    boot: Duration,
}

impl RedisTime {
    /// Looks at the clock of Redis, when the clock of this machine's boot shows `boot`. Returns whether one of them has
    /// moved on without the other.
    pub(super) fn was_set(&mut self, redis: Duration, boot: Duration) -> bool {
        let Some(last) = self.expected else {
            self.expected = Some(Look { redis, boot });
            return false;
        };
        let passed = boot.saturating_sub(last.boot);
        let (expected, drift) = (last.redis + passed, passed / DRIFT);
        if redis.abs_diff(expected) > LONGEST_STEP {
            self.expected = Some(Look { redis, boot });
            return true;
        }
        // Steps add up until they are noticed; a drift is followed.
        let followed = redis.clamp(expected.saturating_sub(drift), expected + drift);
        self.expected = Some(Look { redis: followed, boot });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn looks(looks: &[(u64, u64)]) -> Vec<bool> {
        let mut time = RedisTime::default();
        let secs = Duration::from_secs;
        looks.iter().map(|(redis, boot)| time.was_set(secs(*redis), secs(*boot))).collect()
    }

    #[test]
    fn a_clock_that_goes_on_was_not_set() {
        assert_eq!(looks(&[(NOW, 5), (NOW + 1, 6), (NOW + 3, 7), (NOW + 90_000, 90_005)]), [false; 4]);
    }

    #[test]
    fn a_step_ahead_or_back_is_noticed_once() {
        for set in [NOW + 3_600, NOW - 3_600, NOW * 2, 0] {
            assert_eq!(looks(&[(NOW, 5), (set, 6), (set + 1, 7)]), [false, true, false], "{set}");
        }
    }

    #[test]
    fn small_steps_add_up() {
        let ahead = [(NOW, 0), (NOW + 241, 1), (NOW + 482, 2), (NOW + 723, 3), (NOW + 724, 4)];
        assert_eq!(looks(&ahead), [false, false, false, true, false]);
        let back = [(NOW, 0), (NOW - 239, 1), (NOW - 478, 2), (NOW - 717, 3), (NOW - 716, 4)];
        assert_eq!(looks(&back), [false, false, false, true, false]);
    }

    #[test]
    fn a_clock_that_is_a_little_fast_or_slow_was_not_set() {
        for daily in [86_400 - 40, 86_400 + 40] {
            let looked: Vec<_> = (0..24_000).map(|hour| (NOW + hour * daily / 24, hour * 3_600)).collect();
            assert!(looks(&looked).iter().all(|was_set| !was_set), "{daily}");
        }
    }
}
