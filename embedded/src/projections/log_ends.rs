//! When the projection `views` had everything that the log had. Its readers are in the same process, so this is kept in memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use events::PartitionId;
use parking_lot::Mutex;
use read_model::StoreTime;

/// The last such moment of each partition.
///
/// The clock stands still while the machine is suspended. That does no harm: only this process writes to its log, so the log stands still
/// as well, and what was everything before is everything afterwards.
#[derive(Debug)]
pub(super) struct LogEnds {
    origin: Instant,
    moments: Mutex<BTreeMap<PartitionId, StoreTime>>,
}

impl LogEnds {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), moments: Mutex::default() }
    }

    pub(super) fn now(&self) -> StoreTime {
        StoreTime(self.origin.elapsed())
    }

    /// Notes that it was so at this time.
    pub(super) fn note(&self, partition: PartitionId, at: StoreTime) {
        let mut moments = self.moments.lock();
        let last = moments.entry(partition).or_insert(at);
        *last = at.max(*last);
    }

    /// How long ago it was so, for each partition of which that is known.
    pub(super) fn since(&self) -> BTreeMap<PartitionId, Duration> {
        let moments = self.moments.lock();
        let now = self.now();
        moments.iter().map(|(partition, at)| (*partition, now.0.saturating_sub(at.0))).collect()
    }
}
