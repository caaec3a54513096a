//! The records of a partition that operators have parked.

use std::collections::BTreeSet;

use event_log::LogBatch;
use events::{Marker, Offset};

/// Most offsets that are remembered. Of a partition with more, each further search reads ahead anew.
const MAX_REMEMBERED: usize = 100_000;

/// What a projection knows about parked records from reading ahead.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    offsets: BTreeSet<Offset>,
    /// Nothing is known about records before this offset: they were applied, or lie before the first search.
    known_from: Option<Offset>,
    /// Everything before this offset was looked through, as far as it lies behind the records from `known_from` on.
    read_to: Option<Offset>,
    /// Whether there was no room for some.
    is_incomplete: bool,
}

impl Parked {
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.offsets.contains(&offset)
    }

    /// Begins to look for a marker about the record at `offset`. That record lies before those that are known about if the projection
    /// was lost and made again.
    pub(crate) fn begin_search(&mut self, offset: Offset) {
        let has_no_room = self.is_incomplete && !self.contains(offset);
        if self.read_to.is_none() || self.known_from.is_some_and(|from| offset < from) || has_no_room {
            *self = Self { known_from: Some(offset), ..Self::default() };
        }
    }

    /// Where to read on to find whether the record at `offset` is parked: a marker lies behind the record that it is about.
    pub(crate) fn read_from(&self, offset: Offset) -> Offset {
        self.read_to.unwrap_or(Offset::START).max(offset.next())
    }

    /// Remembers the markers of a batch that was read from [`Self::read_from`] on, and that about `searched` in any case.
    pub(crate) fn add(&mut self, log_batch: &LogBatch, searched: Offset) {
        for marker in &log_batch.markers {
            if let Marker::DeadLetterParked(offset) = marker.marker {
                if offset == searched || self.offsets.len() < MAX_REMEMBERED {
                    self.offsets.insert(offset);
                } else {
                    self.is_incomplete = true;
                }
            }
        }
        self.read_to = Some(log_batch.next);
    }

    /// Forgets the records before `next`, which were applied.
    pub(crate) fn forget_before(&mut self, next: Offset) {
        self.known_from = self.known_from.max(Some(next));
        if self.offsets.first().is_some_and(|first| *first < next) {
            self.offsets = self.offsets.split_off(&next);
        }
    }
}

#[cfg(test)]
mod tests {
    use events::{PartitionId, RecordId, RecordedMarker};
    use uuid::Uuid;

    use super::*;

    fn batch(next: u64, parked: &[u64]) -> LogBatch {
        let marker = |offset: &u64| RecordedMarker {
            partition: PartitionId(0),
            offset: Offset(next - 1),
            id: RecordId(Uuid::nil()),
            marker: Marker::DeadLetterParked(Offset(*offset)),
        };
        LogBatch { markers: parked.iter().map(marker).collect(), ..LogBatch::empty(Offset(next)) }
    }

    #[test]
    fn what_was_forgotten_is_searched_anew() {
        let mut parked = Parked::default();
        parked.begin_search(Offset(5));
        parked.add(&batch(20, &[5, 9]), Offset(5));
        parked.forget_before(Offset(6));
        parked.begin_search(Offset(9));
        assert_eq!(parked.read_from(Offset(9)), Offset(20));
        parked.begin_search(Offset(5));
        assert_eq!(parked.read_from(Offset(5)), Offset(6));
    }

    #[test]
    fn what_lies_before_the_first_search_is_searched_anew() {
        let mut parked = Parked::default();
        parked.begin_search(Offset(50));
        parked.add(&batch(100, &[50]), Offset(50));
        parked.begin_search(Offset(10));
        assert_eq!(parked.read_from(Offset(10)), Offset(11));
    }

    #[test]
    fn what_was_read_ahead_is_not_read_again() {
        let mut parked = Parked::default();
        parked.begin_search(Offset(5));
        assert_eq!(parked.read_from(Offset(5)), Offset(6));
        parked.add(&batch(20, &[5, 9]), Offset(5));
        assert!(parked.contains(Offset(5)) && parked.contains(Offset(9)) && !parked.contains(Offset(6)));
        assert_eq!(parked.read_from(Offset(6)), Offset(20));
        parked.forget_before(Offset(6));
        assert!(!parked.contains(Offset(5)) && parked.contains(Offset(9)));
        assert_eq!(parked.read_from(Offset(30)), Offset(31));
    }

    #[test]
    fn what_there_was_no_room_for_is_searched_anew() {
        let mut parked = Parked::default();
        let last = MAX_REMEMBERED as u64 + 1;
        let many: Vec<u64> = (0..=last).collect();
        parked.add(&batch(200_000, &many), Offset(0));
        assert!(!parked.contains(Offset(last)));
        parked.begin_search(Offset(0));
        assert!(parked.contains(Offset(0)), "it was forgotten");
        parked.begin_search(Offset(last));
        assert_eq!(parked.read_from(Offset(last)), Offset(last + 1));
        parked.add(&batch(200_000, &many), Offset(last));
        assert!(parked.contains(Offset(last)));
    }
}
