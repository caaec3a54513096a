//! Finds the events that a partition may have twice, in memory that does not grow with their ids.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use events::EventId;

/// Bits of the filter for each record: at 16 bits and 8 hashes, 6 of 10,000 events are taken for repeats that are none.
const BITS_PER_RECORD: u64 = 16;
const HASHES: u64 = 8;
/// The smallest and the largest filter: 512 MiB, enough for 268 million records in a partition. With more of them, more events are
/// taken for repeats.
const MIN_BITS: u64 = 1 << 10;
const MAX_BITS: u64 = 1 << 32;
/// The most ids that may be there twice: some 150 MB.
pub(super) const MAX_REPEATED: usize = 4_000_000;

/// A [Bloom filter](https://doi.org/10.1145/362686.362692) of ids. An id that it has seen before is remembered, and a few others are
/// too: the second reading tells them apart.
pub(super) struct RepeatFinder {
    words: Vec<u64>,
    repeated: HashSet<EventId>,
}

/// See [`MAX_REPEATED`].
#[derive(Debug)]
pub(super) struct TooManyRepeats;

impl RepeatFinder {
    /// A finder for about so many records.
    pub(super) fn new(records: u64) -> Self {
        let bits = records.saturating_mul(BITS_PER_RECORD).clamp(MIN_BITS, MAX_BITS).next_power_of_two();
        let words = usize::try_from(bits / u64::from(u64::BITS)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], repeated: HashSet::new() }
    }

    pub(super) fn add(&mut self, event_id: EventId) -> Result<(), TooManyRepeats> {
        // Two hashes stand for eight: https://doi.org/10.1002/rsa.20208.
        let (first, step) = (hash(event_id, 0), hash(event_id, 1) | 1);
        let mask = self.words.len() as u64 * u64::from(u64::BITS) - 1;
        let mut was_there = true;
        for index in 0..HASHES {
            let bit = first.wrapping_add(index.wrapping_mul(step)) & mask;
            #[expect(clippy::cast_possible_truncation, reason = "the mask keeps it below the number of words")]
            let word = &mut self.words[(bit / u64::from(u64::BITS)) as usize];
            let flag = 1 << (bit % u64::from(u64::BITS));
            was_there &= *word & flag != 0;
            *word |= flag;
        }
        if was_there && self.repeated.insert(event_id) && self.repeated.len() > MAX_REPEATED {
            return Err(TooManyRepeats);
        }
        Ok(())
    }

    /// Every id that was added twice, and a few others.
    pub(super) fn into_repeated(self) -> HashSet<EventId> {
        self.repeated
    }
}

fn hash(event_id: EventId, seed: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    event_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const RECORDS: u64 = 100_000;

    /// Ids of one millisecond differ in their last bits only.
    fn id(number: u64) -> EventId {
        EventId(Uuid::from_u128((0x0198_7654_3210_7abc << 64) | u128::from(number)))
    }

    #[test]
    fn every_repeat_is_found_and_few_others_are() {
        let mut finder = RepeatFinder::new(RECORDS);
        for number in (0..RECORDS).chain((0..RECORDS).step_by(1_000)) {
            finder.add(id(number)).unwrap();
        }
        let repeated = finder.into_repeated();
        assert!((0..RECORDS).step_by(1_000).all(|number| repeated.contains(&id(number))));
        let others = repeated.len() - 100;
        assert!(others < 100, "{others} of {RECORDS} were taken for repeats");
    }
}
