//! Positions in the log: partitions, offsets, and bounds over several partitions.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A part of the log with an order of its own. The embedded log has one partition, number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// Every partition that a log may have.
    pub const ALL: RangeInclusive<Self> = Self(0)..=Self(u16::MAX);
}

/// The place of a record in its partition: 0, 1, 2 … in log order. Offsets grow, but need not be dense.
///
/// As a *bound*, an offset means "everything before it": a checkpoint of 3 covers the records 0, 1 and 2, and the next
/// record to read is 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// The place of a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset there.
    pub offset: Offset,
}

impl Place {
    /// The position that covers this record and those before it in its partition.
    pub fn covered(self) -> Position {
        Position::up_to(self.partition, self.offset.next())
    }
}

impl Offset {
    /// The beginning of a partition.
    pub const START: Self = Self(0);

    /// The bound that covers this record and all records before it.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of the log that was written, shown or projected: in each partition named, everything before an offset.
///
/// The answer to a write carries a position that covers the write. A reader whose projections *cover* that position shows
/// the write. Its text is `partition:offset`, joined by dots. Clients get and send a [`ClientPosition`](crate::ClientPosition).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position(BTreeMap<PartitionId, Offset>);

/// The text is not in the format of a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a log position; send back the unchanged value of a Log-Position header")]
pub struct MalformedPosition;

impl Position {
    /// Longest text that is parsed, in bytes. The text of a position with every partition of a large log is far shorter.
    pub const MAX_TEXT_BYTES: usize = 16 * 1024;

    /// Most partitions that a text may name, so that a query for all of them stays small. No log of Tally has nearly as
    /// many.
    pub const MAX_PARTITIONS: usize = 1_024;

    /// Everything in `partition` before `bound`.
    pub fn up_to(partition: PartitionId, bound: Offset) -> Self {
        Self(BTreeMap::from([(partition, bound)]))
    }

    /// The bound in `partition`: [`Offset::START`] if the position does not name the partition.
    pub fn bound(&self, partition: PartitionId) -> Offset {
        self.0.get(&partition).copied().unwrap_or(Offset::START)
    }

    /// The partitions that are named, in order, each with its bound.
    pub fn bounds(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.0.iter().map(|(&partition, &bound)| (partition, bound))
    }

    /// The number of partitions that are named.
    pub fn partitions(&self) -> usize {
        self.0.len()
    }

    /// Extends this position by `other`: each partition gets the farther of both bounds.
    pub fn merge(&mut self, other: &Self) {
        for (partition, bound) in other.bounds() {
            self.extend(partition, bound);
        }
    }

    /// Extends this position by everything in `partition` before `bound`.
    pub fn extend(&mut self, partition: PartitionId, bound: Offset) {
        let own = self.0.entry(partition).or_insert(bound);
        *own = bound.max(*own);
    }

    /// Whether it covers nothing, as the beginning of a log does.
    pub fn is_start(&self) -> bool {
        self.0.values().all(|bound| *bound == Offset::START)
    }

    /// Leaves out the partitions of which this position covers nothing.
    pub fn drop_empty_parts(&mut self) {
        self.0.retain(|_, bound| *bound > Offset::START);
    }

    /// Whether this position covers everything that `other` covers.
    pub fn covers(&self, other: &Self) -> bool {
        other.bounds().all(|(partition, bound)| self.bound(partition) >= bound)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, bound)) in self.bounds().enumerate() {
            let separator = if index == 0 { "" } else { "." };
            write!(f, "{separator}{partition}:{bound}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = MalformedPosition;

    fn from_str(text: &str) -> Result<Self, MalformedPosition> {
        if text.len() > Self::MAX_TEXT_BYTES {
            return Err(MalformedPosition);
        }
        let mut bounds = BTreeMap::new();
        for part in text.split('.') {
            let (partition, bound) = part.split_once(':').ok_or(MalformedPosition)?;
            let partition = PartitionId(parse_decimal(partition)?);
            let duplicate = bounds.insert(partition, Offset(parse_decimal(bound)?));
            if duplicate.is_some() || bounds.len() > Self::MAX_PARTITIONS {
                return Err(MalformedPosition);
            }
        }
        Ok(Self(bounds))
    }
}

fn parse_decimal<T: FromStr>(digits: &str) -> Result<T, MalformedPosition> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedPosition);
    }
    digits.parse().map_err(|_| MalformedPosition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_position_are_the_same() {
        for text in ["0:1", "0:18446744073709551615", "0:3.7:12.65535:0"] {
            assert_eq!(position(text).to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = "0:1.".repeat(Position::MAX_TEXT_BYTES);
        for text in [
            "",
            "0",
            ":",
            "0:",
            ":1",
            "0:+1",
            "-1:1",
            "0:1.",
            "0:1.0:2",
            "65536:1",
            "0:18446744073709551616",
            "0:1,1:1",
            &long,
        ] {
            assert_eq!(text.parse::<Position>(), Err(MalformedPosition), "{text:.40}");
        }
    }

    #[test]
    fn a_text_names_a_bounded_number_of_partitions() {
        let text = |partitions: usize| (0..partitions).map(|id| format!("{id}:1")).collect::<Vec<_>>().join(".");
        let most = text(Position::MAX_PARTITIONS);
        assert!(most.len() <= Position::MAX_TEXT_BYTES);
        assert_eq!(position(&most).partitions(), Position::MAX_PARTITIONS);
        assert_eq!(text(Position::MAX_PARTITIONS + 1).parse::<Position>(), Err(MalformedPosition));
    }

    #[test]
    fn merging_takes_the_farther_bound_of_each_partition() {
        let mut merged = position("0:5.1:2");
        merged.merge(&position("1:7.2:1"));
        assert_eq!(merged, position("0:5.1:7.2:1"));
    }

    #[test]
    fn a_position_covers_what_lies_before_it_in_every_partition() {
        let shown = position("0:5.1:2");
        assert!(shown.covers(&position("0:5")));
        assert!(shown.covers(&position("0:1.1:2.2:0")));
        assert!(!shown.covers(&position("0:6")));
        assert!(!shown.covers(&position("0:1.2:1")));
    }
}
