//! Epochs of numbering, and the markers in the log with which they begin.

use std::fmt;

use crate::position::{Offset, PartitionId};

/// A period in which the number server has lost nothing. When the server loses something, a higher epoch begins.
///
/// The value is the offset in partition 0 of the marker that claimed the epoch, or above it in a log that was damaged. So
/// epochs ascend. An event carries the
/// epoch in which it was reserved. An event that lies after the start of a higher epoch is void: the number server may have
/// given its number to another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The value before any epoch has started. No event is void then.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record that is no event: one of the two steps with which an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A command-api is about to begin an epoch. Its value comes from the offset of this marker, in partition 0. Projections
    /// ignore it.
    EpochClaimed,
    /// Later events of the partition that carry a lower epoch are void. Every partition gets this marker.
    EpochStarted(Epoch),
}

impl Marker {
    /// Wire name of [`Marker::EpochClaimed`].
    pub const CLAIMED: &str = "EpochClaimed";
    /// Wire name of [`Marker::EpochStarted`].
    pub const STARTED: &str = "EpochStarted";

    /// The wire name.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::EpochClaimed => Self::CLAIMED,
            Self::EpochStarted(_) => Self::STARTED,
        }
    }
}

/// A [`Marker::EpochStarted`] as it was read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The partition of the marker.
    pub partition: PartitionId,
    /// The offset of the marker.
    pub offset: Offset,
    /// The epoch that starts.
    pub epoch: Epoch,
}
