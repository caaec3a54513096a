//! The log: it only grows, what is sent to it lands at any later time or never, and it says which events are void.

use crate::mistakes::Mistake;
use crate::scope::Scope;
use crate::state::{Epoch, Keeper, PARTITIONS, PROCESSES, State};

/// More entries than any scope makes in one partition.
const LONGEST: usize = 14;

/// What lies at one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Entry {
    /// Nothing yet.
    #[default]
    Nothing,
    /// `EpochClaimed`; projections ignore it.
    Claimed,
    /// `EpochStarted`.
    Started(Epoch),
    /// An event, reserved in an epoch.
    Posted {
        /// What was posted.
        post: u8,
        /// Under which number.
        number: u8,
        /// In which epoch.
        epoch: Epoch,
    },
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition {
    length: u8,
    entries: [Entry; LONGEST],
}

/// The log, and the markers that are on their way to it. Events on their way are with the tries that sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Log {
    /// What has landed.
    pub partitions: [Partition; PARTITIONS],
    /// Which process waits for the `EpochClaimed` that it sent.
    pub claims: [bool; PROCESSES],
    /// How many more are on their way, for which nobody waits any more.
    pub abandoned_claims: u8,
    /// `EpochStarted` on their way to each partition: a bit for each epoch.
    pub starts: [u16; PARTITIONS],
}

/// An event that is not void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Valid {
    /// What was posted.
    pub post: u8,
    /// Under which number.
    pub number: u8,
}

impl Partition {
    /// Its end: the offset of what comes next.
    pub fn end(&self) -> u8 {
        self.length
    }

    /// What lies in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..usize::from(self.length)]
    }

    /// Appends; the answer is the offset.
    pub fn push(&mut self, entry: Entry) -> u8 {
        let offset = self.length;
        self.entries[usize::from(offset)] = entry;
        self.length += 1;
        offset
    }
}

impl Log {
    /// The epoch that starts at each offset of a partition, if one does.
    fn starts_of<'a>(&'a self, scope: &'a Scope, partition: usize) -> impl Iterator<Item = (u8, Option<Epoch>)> + 'a {
        let claims_start = partition == 0 && scope.has(Mistake::OneMarker);
        (0..).zip(self.partitions[partition].entries()).map(move |(offset, entry)| match entry {
            Entry::Started(epoch) => (offset, Some(*epoch)),
            Entry::Claimed if claims_start => (offset, Some(Epoch(offset))),
            Entry::Nothing | Entry::Claimed | Entry::Posted { .. } => (offset, None),
        })
    }

    /// The highest epoch that has started in a partition.
    pub fn highest_started(&self, scope: &Scope, partition: usize) -> Option<Epoch> {
        self.starts_of(scope, partition).filter_map(|(_, epoch)| epoch).max()
    }

    /// Behind which offset an epoch is known to have started in a partition: where a start of it or of a higher one is.
    pub fn passed_start(&self, scope: &Scope, partition: usize, epoch: Epoch) -> Option<u8> {
        self.starts_of(scope, partition).find(|(_, started)| *started >= Some(epoch)).map(|(offset, _)| offset + 1)
    }

    /// The events below `end` in a partition that are not void, in the log's order.
    pub fn valid<'a>(&'a self, scope: &'a Scope, partition: usize, end: u8) -> impl Iterator<Item = Valid> + 'a {
        let mut highest = None;
        let starts = self.starts_of(scope, partition).map(|(_, epoch)| epoch);
        let entries = self.partitions[partition].entries().iter().zip(starts).take(usize::from(end));
        entries.filter_map(move |(entry, start)| {
            highest = highest.max(start);
            match entry {
                Entry::Posted { post, number, epoch }
                    if Some(*epoch) >= highest || scope.has(Mistake::NoEpochInTheLog) =>
                {
                    Some(Valid { post: *post, number: *number })
                }
                _ => None,
            }
        })
    }

    /// All events that are not void.
    pub fn all_valid<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = Valid> + 'a {
        (0..PARTITIONS).flat_map(move |partition| self.valid(scope, partition, u8::MAX))
    }

    /// How many events are void.
    pub fn void(&self, scope: &Scope) -> usize {
        let is_event = |entry: &&Entry| matches!(entry, Entry::Posted { .. });
        let events = self.partitions.iter().map(|partition| partition.entries().iter().filter(is_event).count());
        events.sum::<usize>() - self.all_valid(scope).count()
    }

    /// The last number of the parent's children, as `counts` says it when it has come to these ends; `None` if there is no
    /// parent.
    pub fn last_number(&self, scope: &Scope, ends: [u8; PARTITIONS]) -> Option<u8> {
        let of = |partition| self.valid(scope, partition, ends[partition]).map(|valid| valid.number).max();
        (0..PARTITIONS).filter_map(of).max().or(scope.begins_with_the_parent().then_some(0))
    }

    /// The ends of all partitions.
    pub fn ends(&self) -> [u8; PARTITIONS] {
        self.partitions.map(|partition| partition.end())
    }

    /// Every place where `counts` may be, if it has to have come to these ends.
    pub fn places_from(&self, from: [u8; PARTITIONS]) -> impl Iterator<Item = [u8; PARTITIONS]> {
        let [one, other] = self.ends();
        (from[0]..=one).flat_map(move |first| (from[1]..=other).map(move |second| [first, second]))
    }
}

/// `EpochClaimed` of a process lands; it learns of the offset.
pub fn land_claim(state: &mut State, process: usize) -> Option<()> {
    if !std::mem::take(&mut state.log.claims[process]) {
        return None;
    }
    let offset = state.log.partitions[0].push(Entry::Claimed);
    state.processes[process].keeper = Keeper::Claimed(Epoch(offset));
    Some(())
}

/// `EpochClaimed` lands for which nobody waits any more.
pub fn land_abandoned_claim(state: &mut State) -> Option<()> {
    state.log.abandoned_claims = state.log.abandoned_claims.checked_sub(1)?;
    state.log.partitions[0].push(Entry::Claimed);
    Some(())
}

/// `EpochStarted` lands in a partition.
pub fn land_start(state: &mut State, partition: usize, epoch: Epoch) -> Option<()> {
    let starts = &mut state.log.starts[partition];
    if *starts & epoch.bit() == 0 {
        return None;
    }
    *starts &= !epoch.bit();
    state.log.partitions[partition].push(Entry::Started(epoch));
    Some(())
}
