//! Notices that the clock of Redis was set. Redis expires keys by that clock: if it is set ahead, keys are forgotten too early.

use std::time::Duration;

/// A step of the clock from one look to the next that ends the epoch. A smaller one shortens the memory of keys by that much.
const LONGEST_STEP: Duration = Duration::from_secs(10 * 60);

/// What the clock of Redis showed at the last look.
#[derive(Debug, Default)]
pub(super) struct RedisTime {
    last: Option<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    redis: Duration,
    boot: Duration,
}

impl RedisTime {
    /// Looks at the clock of Redis, when the clock of this machine's boot shows `boot`. Returns whether one of them has
    /// moved on without the other since the last look.
    pub(super) fn was_set(&mut self, redis: Duration, boot: Duration) -> bool {
        let look = Look { redis, boot };
        let Some(last) = self.last.replace(look) else {
            return false;
        };
        let expected = last.redis + boot.saturating_sub(last.boot);
        redis.abs_diff(expected) > LONGEST_STEP
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
}
