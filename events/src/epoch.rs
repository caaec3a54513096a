//! Epochs: the reigns of one state of the number server.

use std::fmt;

use crate::position::{Offset, PartitionId};

/// How often, so to speak, numbering has begun anew: whenever the server that gives the numbers has lost something, a
/// higher epoch begins. It is the offset in partition 0 of the marker that claimed it, so it only grows.
///
/// An event that was reserved in an epoch carries it. Lying behind the start of a higher one, it is void: its number may
/// have been given to another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before any epoch has started; nothing is void then.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the log has beside events: the two steps by which an epoch begins. Projections ignore the first; the second,
/// written to every partition, makes void what comes after it from an earlier epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// Somebody is about to begin an epoch. Its own offset, in partition 0, becomes the epoch's number.
    EpochClaimed,
    /// From here on only this epoch and later ones count in the partition.
    EpochStarted(Epoch),
}

impl Marker {
    /// The name on the wire of [`Marker::EpochClaimed`].
    pub const CLAIMED: &str = "EpochClaimed";
    /// The name on the wire of [`Marker::EpochStarted`].
    pub const STARTED: &str = "EpochStarted";

    /// The name on the wire.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::EpochClaimed => Self::CLAIMED,
            Self::EpochStarted(_) => Self::STARTED,
        }
    }
}

/// An [`Marker::EpochStarted`] and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The epoch that starts.
    pub epoch: Epoch,
}
