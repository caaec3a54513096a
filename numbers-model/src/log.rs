//! The log. A record lands in it at any time after it was sent, or never. The log's markers make events void. It only
//! grows, unless a scope damages it ([`crate::damage`]).

use crate::epoch::Epoch;
use crate::mistakes::Mistake;
use crate::scope::{PARTITIONS, PROCESSES, Scope};

/// More entries than any scope makes in one partition.
const MAX_ENTRIES: usize = 14;

/// The content of one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Entry {
    #[default]
    Nothing,
    /// `EpochClaimed`; projections ignore it.
    Claimed,
    /// `EpochStarted`.
    Started(Epoch),
    /// An event, with the number and the epoch of its reservation.
    Posted { post: u8, number: u8, epoch: Epoch },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition {
    length: u8,
    entries: [Entry; MAX_ENTRIES],
}

/// The log, and the markers that are on their way to it. The tries have the events that are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Log {
    pub partitions: [Partition; PARTITIONS],
    /// Which process waits for the `EpochClaimed` that it sent.
    pub claims: [bool; PROCESSES],
    /// How many more `EpochClaimed` are on their way although no process waits for them.
    pub abandoned_claims: u8,
    /// `EpochStarted` on their way to each partition: a bit for each epoch.
    pub starts: [u32; PARTITIONS],
}

/// An event that is not void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidEvent {
    pub post: u8,
    pub number: u8,
}

impl Partition {
    /// The offset of the next entry.
    pub fn end(&self) -> u8 {
        self.length
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries[..usize::from(self.length)]
    }

    /// Appends an entry, and returns its offset.
    pub fn push(&mut self, entry: Entry) -> u8 {
        let offset = self.length;
        self.entries[usize::from(offset)] = entry;
        self.length += 1;
        offset
    }

    /// Loses the entries from this offset on.
    pub fn cut(&mut self, end: u8) {
        self.entries[usize::from(end)..].fill(Entry::Nothing);
        self.length = end;
    }
}

impl Log {
    /// Every offset of a partition, with the epoch that starts there, if one does.
    fn epoch_starts<'a>(
        &'a self,
        scope: &'a Scope,
        partition: usize,
    ) -> impl Iterator<Item = (u8, Option<Epoch>)> + 'a {
        let claims_start = partition == 0 && scope.has(Mistake::OneMarker);
        (0..).zip(self.partitions[partition].entries()).map(move |(offset, entry)| match entry {
            Entry::Started(epoch) if scope.has(Mistake::StartNeedsItsClaim) && !self.is_claimed(*epoch) => {
                (offset, None)
            }
            Entry::Started(epoch) => (offset, Some(*epoch)),
            Entry::Claimed if claims_start => (offset, Some(Epoch(offset))),
            Entry::Nothing | Entry::Claimed | Entry::Posted { .. } => (offset, None),
        })
    }

    /// The highest epoch that has started in a partition.
    pub fn highest_started(&self, scope: &Scope, partition: usize) -> Option<Epoch> {
        self.epoch_starts(scope, partition).filter_map(|(_, epoch)| epoch).max()
    }

    /// Whether an epoch is the offset of its claim, and the log has the claim.
    pub fn is_claimed(&self, epoch: Epoch) -> bool {
        self.partitions[0].entries().get(usize::from(epoch.0)) == Some(&Entry::Claimed)
    }

    /// Whether a partition has started another epoch after this one, or has not started this one.
    pub fn contradicts(&self, scope: &Scope, epoch: Epoch) -> bool {
        (0..PARTITIONS).any(|partition| self.highest_started(scope, partition) != Some(epoch))
    }

    /// The offset after the first start of `epoch` or of a higher one in a partition.
    pub fn offset_after_start(&self, scope: &Scope, partition: usize, epoch: Epoch) -> Option<u8> {
        self.epoch_starts(scope, partition).find(|(_, started)| *started >= Some(epoch)).map(|(offset, _)| offset + 1)
    }

    /// The events below `end` in a partition that are not void, in the log's order.
    pub fn valid_in_partition<'a>(
        &'a self,
        scope: &'a Scope,
        partition: usize,
        end: u8,
    ) -> impl Iterator<Item = ValidEvent> + 'a {
        let mut highest = None;
        let starts = self.epoch_starts(scope, partition).map(|(_, epoch)| epoch);
        let entries = self.partitions[partition].entries().iter().zip(starts).take(usize::from(end));
        entries.filter_map(move |(entry, start)| {
            highest = highest.max(start);
            match entry {
                Entry::Posted { post, number, epoch }
                    if Some(*epoch) >= highest || scope.has(Mistake::NoEpochInTheLog) =>
                {
                    Some(ValidEvent { post: *post, number: *number })
                }
                _ => None,
            }
        })
    }

    /// The events of all partitions that are not void.
    pub fn valid_events<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = ValidEvent> + 'a {
        (0..PARTITIONS).flat_map(move |partition| self.valid_in_partition(scope, partition, u8::MAX))
    }

    /// How many events are void.
    pub fn void_count(&self, scope: &Scope) -> usize {
        let is_event = |entry: &&Entry| matches!(entry, Entry::Posted { .. });
        let events = self.partitions.iter().map(|partition| partition.entries().iter().filter(is_event).count());
        events.sum::<usize>() - self.valid_events(scope).count()
    }

    /// The last number of the parent's children in a `counts` with these checkpoints; `None` if there is no parent.
    pub fn last_number(&self, scope: &Scope, checkpoints: [u8; PARTITIONS]) -> Option<u8> {
        let last_in = |partition| {
            self.valid_in_partition(scope, partition, checkpoints[partition]).map(|valid| valid.number).max()
        };
        (0..PARTITIONS).filter_map(last_in).max().or(scope.begins_with_the_parent().then_some(0))
    }

    /// The ends of all partitions.
    pub fn ends(&self) -> [u8; PARTITIONS] {
        self.partitions.map(|partition| partition.end())
    }

    /// All checkpoints that `counts` may have if it has passed `from`.
    pub fn checkpoints_from(&self, from: [u8; PARTITIONS]) -> impl Iterator<Item = [u8; PARTITIONS]> {
        let [one, other] = self.ends();
        (from[0]..=one).flat_map(move |first| (from[1]..=other).map(move |second| [first, second]))
    }
}
