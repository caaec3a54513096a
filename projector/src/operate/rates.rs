//! How fast the projections are, from two looks at them.

use std::time::Duration;

use super::status::{Lag, Status};

/// Adds to `now` how much was applied since `before`, which was read `elapsed` earlier.
pub fn add(now: &mut Status, before: &Status, elapsed: Duration) {
    for projection in &mut now.projections {
        let former = before.projections.iter().find(|former| former.name == projection.name);
        // Another generation begins at the start of the log, and says nothing about the rate.
        let Some(former) = former.filter(|former| former.generation == projection.generation) else { continue };
        for partition in &mut projection.partitions {
            if let Some(former) = former.partitions.iter().find(|former| former.partition == partition.partition) {
                let applied = partition.position.saturating_sub(former.position);
                set_rate(&mut partition.lag, per_second(applied, elapsed));
            }
        }
        let sum = Lag::sum(projection.partitions.iter().map(|partition| partition.lag));
        if let Some(rate) = sum.rate {
            set_rate(&mut projection.lag, rate);
        }
    }
}

fn set_rate(lag: &mut Lag, rate: f64) {
    lag.rate = Some(rate);
    lag.seconds_left = match lag.events {
        0 => Some(0.0),
        _ if rate <= 0.0 => None,
        events => Some(to_float(events) / rate),
    };
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { to_float(count) / elapsed.as_secs_f64() }
}

/// A 64-bit float holds every count of events exactly that can occur.
#[expect(clippy::cast_precision_loss, reason = "rates and durations are floats")]
const fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::status::{PartitionStatus, ProjectionStatus};

    fn status(generation: u32, positions: &[(u64, u64)]) -> Status {
        let partitions = (0..).zip(positions).map(|(partition, (position, end))| PartitionStatus {
            partition,
            position: *position,
            end: *end,
            lag: Lag { events: end - position, ..Lag::default() },
        });
        let partitions: Vec<_> = partitions.collect();
        let projection = ProjectionStatus {
            name: "views".to_owned(),
            version: 1,
            generation,
            is_paused: false,
            dead_letters: 0,
            lag: Lag::sum(partitions.iter().map(|partition| partition.lag)),
            partitions,
        };
        let (log_bytes, projections_bytes) = (None, None);
        Status { events: 0, dead_letters: 0, log_bytes, projections_bytes, projections: vec![projection] }
    }

    #[test]
    fn a_rate_and_the_time_that_is_left_come_from_two_looks() {
        let before = status(1, &[(0, 100), (0, 100)]);
        let mut now = status(1, &[(100, 100), (50, 100)]);
        add(&mut now, &before, Duration::from_secs(10));
        let views = &now.projections[0];
        let figures = |lag: &Lag| (lag.rate, lag.seconds_left);
        assert_eq!(figures(&views.partitions[0].lag), (Some(10.0), Some(0.0)));
        assert_eq!(figures(&views.partitions[1].lag), (Some(5.0), Some(10.0)));
        assert_eq!(figures(&views.lag), (Some(15.0), Some(50.0 / 15.0)));
    }

    #[test]
    fn what_stands_still_has_no_time_left_and_another_generation_no_rate() {
        let mut still = status(1, &[(5, 100)]);
        let before = still.clone();
        add(&mut still, &before, Duration::from_secs(1));
        assert_eq!((still.projections[0].lag.rate, still.projections[0].lag.seconds_left), (Some(0.0), None));
        let mut other = status(2, &[(9, 100)]);
        add(&mut other, &before, Duration::from_secs(1));
        assert_eq!(other.projections[0].lag.rate, None);
    }
}
