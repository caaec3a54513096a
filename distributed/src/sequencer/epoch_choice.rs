//! Compares epochs with those that have started in the log. The markers of the log are believed as they stand, because
//! every reader decides by them which events are void.

use events::{Epoch, Offset, PartitionCount, PartitionId, Position};
use read_model::Checkpoint;

use crate::ports::Checkpoints;

/// Chooses the epoch of a claim at `offset`, above `highest`.
///
/// An undamaged log has no epoch at or above the claim's offset, so the epoch is that offset. (An exception is the first
/// epoch of a log: 0 also stands for "no epoch has started".) In a log that has lost its tail, or that has a start which no
/// fence has sent, `highest` may not be below. The epoch is then above both, and no other claim yields the same. `None` if
/// no epoch is above.
pub(super) fn choose(offset: Offset, highest: Epoch) -> Option<Epoch> {
    if highest.0 < offset.0 {
        return Some(Epoch(offset.0));
    }
    highest.0.checked_add(1)?.checked_add(offset.0).map(Epoch)
}

/// The highest epoch that has started in any partition.
pub(super) fn highest_started(checkpoints: &Checkpoints) -> Epoch {
    checkpoints.values().map(|checkpoint| checkpoint.epoch).max().unwrap_or(Epoch::FIRST)
}

/// An epoch in the log that is not the one that should be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "partition {partition} of the log is in epoch {found} instead of {expected}: the log has lost its end, or has a start \
     that no command-api has sent"
)]
pub(super) struct Contradiction {
    pub(super) partition: PartitionId,
    pub(super) expected: Epoch,
    pub(super) found: Epoch,
}

/// Finds a partition with another epoch than `expected`, a higher one first. A lower one says something only if `counts`
/// has passed the log's end.
pub(super) fn find_contradiction(
    partitions: PartitionCount,
    checkpoints: &Checkpoints,
    expected: Epoch,
) -> Option<Contradiction> {
    let others = partitions.partitions().filter_map(|partition| {
        let found = checkpoint(checkpoints, partition).epoch;
        (found != expected).then_some(Contradiction { partition, expected, found })
    });
    others.max_by_key(|contradiction| contradiction.found)
}

/// Finds a partition that `counts` has read further than the log goes. Returns it with the checkpoint's offset and the
/// log's end. `end` must have been read after the checkpoints.
pub(super) fn find_beyond_end(checkpoints: &Checkpoints, end: &Position) -> Option<(PartitionId, Offset, Offset)> {
    let ends = checkpoints.iter().map(|(partition, checkpoint)| (*partition, checkpoint.next, end.bound(*partition)));
    ends.into_iter().find(|(_, next, end)| next > end)
}

fn checkpoint(checkpoints: &Checkpoints, partition: PartitionId) -> Checkpoint {
    checkpoints.get(&partition).copied().unwrap_or(Checkpoint::START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(epochs: [u64; 2]) -> Checkpoints {
        let checkpoints = epochs.map(|epoch| Checkpoint { next: Offset(5), epoch: Epoch(epoch), ..Checkpoint::START });
        (0..).map(PartitionId).zip(checkpoints).collect()
    }

    #[test]
    fn an_undamaged_log_gives_the_offset_of_the_claim() {
        assert_eq!(choose(Offset(7), Epoch(6)), Some(Epoch(7)));
        assert_eq!(choose(Offset(7), Epoch::FIRST), Some(Epoch(7)));
    }

    #[test]
    fn a_damaged_log_gives_an_epoch_above_all_others() {
        let chosen = |offset, highest| choose(Offset(offset), Epoch(highest)).map(|epoch| epoch.0);
        for (offset, highest) in [(0, 0), (3, 5), (5, 5), (7, 1_000_000_000_000)] {
            let epoch = chosen(offset, highest).unwrap();
            assert!(epoch > highest && epoch > offset, "{epoch} for a claim at {offset} and {highest}");
            assert!(
                chosen(offset + 1, highest.max(offset + 1)).unwrap() > epoch,
                "a later claim gives no higher epoch"
            );
        }
        assert_eq!(chosen(0, u64::MAX), None);
        assert_eq!(chosen(2, u64::MAX - 1), None);
    }

    #[test]
    fn the_highest_epoch_of_another_partition_is_the_contradiction() {
        let two = PartitionCount::new(2).unwrap();
        assert_eq!(find_contradiction(two, &checkpoints([7, 7]), Epoch(7)), None);
        let lower = find_contradiction(two, &checkpoints([7, 3]), Epoch(7)).unwrap();
        assert_eq!((lower.partition, lower.found), (PartitionId(1), Epoch(3)));
        let higher = find_contradiction(two, &checkpoints([9, 3]), Epoch(7)).unwrap();
        assert_eq!((higher.partition, higher.found), (PartitionId(0), Epoch(9)));
        let absent = find_contradiction(two, &Checkpoints::new(), Epoch(7)).unwrap();
        assert_eq!(absent.found, Epoch::FIRST);
        assert_eq!(highest_started(&checkpoints([3, 9])), Epoch(9));
        assert_eq!(highest_started(&Checkpoints::new()), Epoch::FIRST);
    }

    #[test]
    fn counts_beyond_the_end_are_found() {
        let end = |one, other| {
            let mut end = Position::up_to(PartitionId(0), Offset(one));
            end.merge(&Position::up_to(PartitionId(1), Offset(other)));
            end
        };
        assert_eq!(find_beyond_end(&checkpoints([1, 1]), &end(5, 6)), None);
        let beyond = find_beyond_end(&checkpoints([1, 1]), &end(9, 4));
        assert_eq!(beyond, Some((PartitionId(1), Offset(5), Offset(4))));
    }
}
