//! How many messages a chat has, from numbers that arrive in any order and more than once.

use std::ops::RangeInclusive;

use events::{MessageNumber, Offset};

/// The message numbers of one chat that `counts` has applied.
///
/// The set of numbers is kept as its highest number and the gaps below. Numbers arrive nearly in order, so the gaps are
/// few. A number that is not above the highest and lies in no gap is a duplicate. So the same set of numbers gives the
/// same counts, in whatever order and however often each number arrives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatCounts {
    /// Whether the chat's creation was applied. A message may be applied before it.
    pub created: bool,
    /// The chat's last event that was applied. `None` if a store has lost track of it, in a row of version 1 of `counts`.
    pub last_event: Option<Offset>,
    last: u32,
    /// Ascending, disjoint, all below `last`.
    gaps: Vec<RangeInclusive<u32>>,
}

/// The stored gaps cannot come from [`ChatCounts::gaps_text`].
#[derive(Debug, thiserror::Error)]
#[error("the stored gaps are not ascending ranges below the last number")]
pub struct MalformedCounts;

impl ChatCounts {
    /// Restores counts from their stored parts, without `last_event`; `gaps` is a text from [`ChatCounts::gaps_text`].
    ///
    /// # Errors
    /// If the gaps are not ascending, disjoint and below `last`.
    pub fn from_parts(created: bool, last: u32, gaps: &str) -> Result<Self, MalformedCounts> {
        let gaps = parse_gaps(gaps).ok_or(MalformedCounts)?;
        let ordered = gaps.windows(2).all(|pair| pair[0].end() < pair[1].start());
        let ranges = gaps.iter().all(|gap| 1 <= *gap.start() && gap.start() <= gap.end() && *gap.end() < last);
        if ordered && ranges { Ok(Self { created, last_event: None, last, gaps }) } else { Err(MalformedCounts) }
    }

    /// The highest number so far; 0 before the first.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// The missing ranges below the highest number.
    pub fn gaps(&self) -> &[RangeInclusive<u32>] {
        &self.gaps
    }

    /// The gaps as stores keep them: `first-last`, joined by commas.
    pub fn gaps_text(&self) -> String {
        self.gaps.iter().map(|gap| format!("{}-{}", gap.start(), gap.end())).collect::<Vec<_>>().join(",")
    }

    /// How many different numbers arrived so far.
    pub fn messages_count(&self) -> u32 {
        let missing: u32 = self.gaps.iter().map(|gap| gap.end() - gap.start() + 1).sum();
        self.last - missing
    }

    /// Adds a number to the set.
    pub fn see(&mut self, number: MessageNumber) {
        let number = number.get();
        if number > self.last {
            if number > self.last + 1 {
                self.gaps.push(self.last + 1..=number - 1);
            }
            self.last = number;
        } else if let Some(index) = self.gaps.iter().rposition(|gap| gap.contains(&number)) {
            let (start, end) = self.gaps[index].clone().into_inner();
            let rest = [start..=number - 1, number + 1..=end];
            self.gaps.splice(index..=index, rest.into_iter().filter(|range| !range.is_empty()));
        }
    }
}

/// `None` if the text is not a list of ranges.
fn parse_gaps(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let range = |gap: &str| {
        let (first, last) = gap.split_once('-')?;
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn counts(numbers: &[u32]) -> ChatCounts {
        let mut counts = ChatCounts::default();
        for &number in numbers {
            counts.see(MessageNumber::new(number).unwrap());
        }
        counts
    }

    #[test]
    fn numbers_in_order_leave_no_gap() {
        let counts = counts(&[1, 2, 3]);
        assert_eq!((counts.last(), counts.messages_count(), counts.gaps()), (3, 3, &[][..]));
    }

    #[test]
    fn a_skipped_number_is_a_gap_until_it_comes() {
        let mut counts = counts(&[1, 5]);
        assert_eq!((counts.messages_count(), counts.gaps()), (2, &[2..=4][..]));
        counts.see(MessageNumber::new(3).unwrap());
        assert_eq!((counts.messages_count(), counts.gaps()), (3, &[2..=2, 4..=4][..]));
    }

    #[test]
    fn gaps_come_back_from_their_text() {
        for (text, gaps) in [("", vec![]), ("1-1", vec![1..=1]), ("2-4,9-4294967294", vec![2..=4, 9..=u32::MAX - 1])] {
            let counts = ChatCounts::from_parts(true, u32::MAX, text).unwrap();
            assert_eq!((counts.gaps(), counts.gaps_text().as_str()), (&gaps[..], text));
        }
        assert_eq!(parse_gaps("9-4294967295"), Some(vec![9..=u32::MAX]));
        assert!(ChatCounts::from_parts(true, 9, "1-2,x").is_err());
    }

    #[test]
    fn the_highest_number_counts_once() {
        assert_eq!(counts(&[u32::MAX, u32::MAX]).messages_count(), 1);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_set_of_numbers(numbers in proptest::collection::vec(1..60_u32, 0..80)) {
            let counts = counts(&numbers);
            let seen: BTreeSet<_> = numbers.iter().copied().collect();
            prop_assert_eq!(counts.messages_count() as usize, seen.len());
            prop_assert_eq!(counts.last(), seen.last().copied().unwrap_or(0));
            let missing: Vec<u32> = counts.gaps().iter().cloned().flatten().collect();
            prop_assert_eq!(missing, (1..counts.last()).filter(|n| !seen.contains(n)).collect::<Vec<_>>());
            let stored = ChatCounts::from_parts(false, counts.last(), &counts.gaps_text());
            prop_assert_eq!(stored.unwrap(), counts);
        }
    }
}
