//! Makes pages of the feed that are fair to all partitions, above the SQL of a database.

use std::collections::BTreeMap;

use events::{Offset, PartitionId, Position, UnixMillis};

use crate::page::MAX_BYTES;

/// How often a page asks the partitions that have more for what is left of its limit. Afterwards it is as short as it is.
const MAX_ROUNDS: u32 = 4;

/// An event of a page, as far as the page must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry<T> {
    /// Its offset in its partition.
    pub offset: Offset,
    /// When it was made.
    pub created_at: UnixMillis,
    /// The bytes of its texts.
    pub text_bytes: usize,
    /// The event.
    pub event: T,
}

/// A part of a partition that a page asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedRange {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset.
    pub from: Offset,
    /// The offset behind the last.
    pub end: Offset,
    /// The most events.
    pub limit: u32,
}

/// The events of a page, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSlice<T> {
    /// The events.
    pub events: Vec<T>,
    /// Where the next page begins.
    pub next: Position,
    /// Whether there is more.
    pub more: bool,
}

/// Collects the events of a page: some of each partition that has more, in the order of their times as far as each partition's own order
/// allows.
///
/// An adapter reads the checkpoints first, because no row before a checkpoint ever changes or comes later. So it need not read the rows in
/// the same transaction.
#[derive(Debug)]
pub struct FeedPageBuilder<T> {
    after: Position,
    end: Position,
    limit: u32,
    rounds: u32,
    parts: BTreeMap<PartitionId, Part<T>>,
}

#[derive(Debug)]
struct Part<T> {
    entries: Vec<FeedEntry<T>>,
    /// The first offset that was not asked for.
    from: Offset,
    has_more: bool,
}

impl<T> FeedPageBuilder<T> {
    /// Begins a page of at most `limit` events behind `after` and before `end`. Only `partitions` may have some.
    pub fn new(
        after: &Position,
        end: &Position,
        partitions: impl IntoIterator<Item = PartitionId>,
        limit: u32,
    ) -> Self {
        let open = partitions.into_iter().filter(|partition| after.bound(*partition) < end.bound(*partition));
        let part = |partition| Part { entries: Vec::new(), from: after.bound(partition), has_more: true };
        let parts = open.map(|partition| (partition, part(partition))).collect();
        Self { after: after.clone(), end: end.clone(), limit, rounds: 0, parts }
    }

    /// What the page asks for next; nothing once it is complete. The caller answers each range with [`FeedPageBuilder::add`].
    pub fn next_ranges(&mut self) -> Vec<FeedRange> {
        let entries = self.parts.values().flat_map(|part| &part.entries);
        let (count, bytes) = entries.fold((0_u32, 0_usize), |(count, bytes), entry| {
            (count.saturating_add(1), bytes.saturating_add(entry.text_bytes))
        });
        let left = self.limit.saturating_sub(count);
        if self.rounds == MAX_ROUNDS || left == 0 || bytes >= MAX_BYTES {
            return Vec::new();
        }
        self.rounds += 1;
        let open = self.parts.iter().filter(|(_, part)| part.has_more);
        let partitions = u32::try_from(open.clone().count()).unwrap_or(u32::MAX);
        let range = |(partition, part): (&PartitionId, &Part<T>)| FeedRange {
            partition: *partition,
            from: part.from,
            end: self.end.bound(*partition),
            limit: (left / partitions.max(1)).max(1),
        };
        open.map(range).collect()
    }

    /// Adds the first events of a range, in log order. `has_more` says whether there are others behind them.
    pub fn add(&mut self, partition: PartitionId, entries: Vec<FeedEntry<T>>, has_more: bool) {
        if let Some(part) = self.parts.get_mut(&partition) {
            part.has_more = has_more;
            if let Some(last) = entries.last() {
                part.from = last.offset.next();
            }
            part.entries.extend(entries);
        }
    }

    /// Ends the page.
    pub fn finish(self) -> FeedSlice<T> {
        let taken = self.share_out();
        let (mut next, mut more) = (self.after, false);
        for (partition, bound) in self.end.bounds() {
            let part = self.parts.get(&partition).map(|part| (part, taken.get(&partition).copied().unwrap_or(0)));
            match part {
                Some((part, taken)) if part.has_more || taken < part.entries.len() => {
                    more = true;
                    if let Some(last) = part.entries[..taken].last() {
                        next.extend(partition, last.offset.next());
                    }
                }
                _ => next.extend(partition, bound),
            }
        }
        let entries = self.parts.into_iter().map(|(partition, part)| {
            let taken = taken.get(&partition).copied().unwrap_or(0);
            part.entries.into_iter().take(taken)
        });
        FeedSlice { events: merge_by_time(entries), next, more }
    }

    /// How many events the page has of each partition: the first of each, then the second of each, and so on.
    fn share_out(&self) -> BTreeMap<PartitionId, usize> {
        let mut taken = BTreeMap::new();
        let (mut count, mut bytes) = (0, 0_usize);
        for round in 0..self.limit as usize {
            let mut entries: Vec<_> = self
                .parts
                .iter()
                .filter_map(|(partition, part)| part.entries.get(round).map(|entry| (*partition, entry)))
                .collect();
            if entries.is_empty() {
                break;
            }
            entries.sort_by_key(|(_, entry)| entry.created_at);
            for (partition, entry) in entries {
                if count == self.limit || bytes >= MAX_BYTES {
                    return taken;
                }
                taken.insert(partition, round + 1);
                count += 1;
                bytes = bytes.saturating_add(entry.text_bytes);
            }
        }
        taken
    }
}

/// Joins the events of several partitions. Of their next events, the one with the earliest time comes first.
fn merge_by_time<T>(parts: impl Iterator<Item = impl Iterator<Item = FeedEntry<T>>>) -> Vec<T> {
    let mut parts: Vec<_> = parts.map(Iterator::peekable).collect();
    let mut events = Vec::new();
    loop {
        let heads = parts.iter_mut().enumerate().filter_map(|(index, part)| part.peek().map(|e| (e.created_at, index)));
        let Some((_, first)) = heads.min() else {
            return events;
        };
        events.extend(parts[first].next().map(|entry| entry.event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: PartitionId = PartitionId(0);
    const RIGHT: PartitionId = PartitionId(1);

    /// An event at this offset, made at this time. Its text is its offset.
    fn entry(offset: u64, at: u64) -> FeedEntry<u64> {
        FeedEntry { offset: Offset(offset), created_at: UnixMillis(at), text_bytes: 1, event: offset }
    }

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    fn page(left: &[FeedEntry<u64>], right: &[FeedEntry<u64>], limit: u32) -> FeedSlice<u64> {
        let mut builder = FeedPageBuilder::new(&position("0:0"), &position("0:100.1:200"), [LEFT, RIGHT], limit);
        loop {
            let ranges = builder.next_ranges();
            if ranges.is_empty() {
                return builder.finish();
            }
            for range in ranges {
                let entries = if range.partition == LEFT { left } else { right };
                let mut rest = entries.iter().filter(|entry| entry.offset >= range.from).cloned();
                let found: Vec<_> = rest.by_ref().take(range.limit as usize).collect();
                builder.add(range.partition, found, rest.next().is_some());
            }
        }
    }

    #[test]
    fn events_are_in_the_order_of_their_times_and_each_partition_keeps_its_own() {
        let slice = page(&[entry(1, 10), entry(2, 40)], &[entry(11, 20), entry(12, 5)], 9);
        assert_eq!(slice.events, [1, 11, 12, 2]);
        assert_eq!((slice.next, slice.more), (position("0:100.1:200"), false));
    }

    #[test]
    fn each_partition_gets_its_share_and_the_rest_goes_to_those_that_have_more() {
        let many: Vec<_> = (0..50).map(|offset| entry(offset, offset)).collect();
        let slice = page(&many, &[entry(60, 3)], 10);
        assert_eq!(slice.events.len(), 10);
        assert!(slice.events.contains(&60), "the partition with few events is among them: {:?}", slice.events);
        assert_eq!((slice.next, slice.more), (position("0:9.1:200"), true));
        let late: Vec<_> = (100..150).map(|offset| entry(offset, 1_000)).collect();
        let slice = page(&many, &late, 10);
        assert_eq!(slice.events.iter().filter(|offset| **offset >= 100).count(), 5, "{:?}", slice.events);
        assert_eq!(slice.next, position("0:5.1:105"));
    }

    #[test]
    fn a_page_ends_with_the_event_that_fills_it() {
        let long = |offset| FeedEntry { text_bytes: MAX_BYTES / 2, ..entry(offset, offset) };
        let slice = page(&[long(1), long(2)], &[long(3), long(4)], 9);
        assert_eq!((slice.events, slice.next, slice.more), (vec![1, 3], position("0:2.1:4"), true));
    }

    #[test]
    fn a_position_beyond_the_end_stays() {
        let after = position("0:150.7:3");
        let builder: FeedPageBuilder<u64> = FeedPageBuilder::new(&after, &position("0:100.1:200"), [LEFT], 10);
        assert_eq!(builder.finish().next, position("0:150.1:200.7:3"));
    }
}
