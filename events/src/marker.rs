//! Markers: records of the log that are no events.

use crate::epoch::Epoch;
use crate::identity::RecordId;
use crate::position::{Offset, PartitionId};

/// A record that is no event. It says something about its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A command-api is about to begin an epoch. Its value comes from the offset of this marker, in partition 0. Projections
    /// ignore it.
    EpochClaimed,
    /// Later events of the partition that carry a lower epoch are void. Every partition gets this marker.
    EpochStarted(Epoch),
    /// An operator has parked the record at this offset. A projection that cannot read it passes over it; for `views` it is a dead
    /// letter.
    DeadLetterParked(Offset),
    /// An operator has looked at the dead letter at this offset: it is counted no more.
    DeadLetterDiscarded(Offset),
}

impl Marker {
    /// Wire name of [`Marker::EpochClaimed`].
    pub const CLAIMED: &str = "EpochClaimed";
    /// Wire name of [`Marker::EpochStarted`].
    pub const STARTED: &str = "EpochStarted";
    /// Wire name of [`Marker::DeadLetterParked`].
    pub const PARKED: &str = "DeadLetterParked";
    /// Wire name of [`Marker::DeadLetterDiscarded`].
    pub const DISCARDED: &str = "DeadLetterDiscarded";

    /// The wire name.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::EpochClaimed => Self::CLAIMED,
            Self::EpochStarted(_) => Self::STARTED,
            Self::DeadLetterParked(_) => Self::PARKED,
            Self::DeadLetterDiscarded(_) => Self::DISCARDED,
        }
    }

    /// The epoch that it carries, if its kind has one.
    pub const fn epoch(self) -> Option<Epoch> {
        match self {
            Self::EpochStarted(epoch) => Some(epoch),
            Self::EpochClaimed | Self::DeadLetterParked(_) | Self::DeadLetterDiscarded(_) => None,
        }
    }

    /// The offset of the record that it is about, if its kind has one.
    pub const fn subject(self) -> Option<Offset> {
        match self {
            Self::DeadLetterParked(offset) | Self::DeadLetterDiscarded(offset) => Some(offset),
            Self::EpochClaimed | Self::EpochStarted(_) => None,
        }
    }

    /// The marker with this wire name, epoch and subject; `None` if this release knows no such marker.
    pub fn from_parts(wire_name: &str, epoch: Option<Epoch>, subject: Option<Offset>) -> Option<Self> {
        match (wire_name, epoch, subject) {
            (Self::CLAIMED, None, None) => Some(Self::EpochClaimed),
            (Self::STARTED, Some(epoch), None) => Some(Self::EpochStarted(epoch)),
            (Self::PARKED, None, Some(offset)) => Some(Self::DeadLetterParked(offset)),
            (Self::DISCARDED, None, Some(offset)) => Some(Self::DeadLetterDiscarded(offset)),
            _ => None,
        }
    }

    /// Whether this release knows markers of this wire name.
    pub fn is_known(wire_name: &str) -> bool {
        [Self::CLAIMED, Self::STARTED, Self::PARKED, Self::DISCARDED].contains(&wire_name)
    }
}

/// A marker as it was read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedMarker {
    /// The partition of the marker.
    pub partition: PartitionId,
    /// The offset of the marker.
    pub offset: Offset,
    /// The identity of its record.
    pub id: RecordId,
    /// The marker.
    pub marker: Marker,
}

impl RecordedMarker {
    /// The epoch that it starts, if it starts one.
    pub const fn epoch_started(&self) -> Option<Epoch> {
        self.marker.epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_made_of_its_parts_again() {
        let all = [
            Marker::EpochClaimed,
            Marker::EpochStarted(Epoch(7)),
            Marker::DeadLetterParked(Offset(8)),
            Marker::DeadLetterDiscarded(Offset(9)),
        ];
        for marker in all {
            assert_eq!(Marker::from_parts(marker.wire_name(), marker.epoch(), marker.subject()), Some(marker));
            assert!(Marker::is_known(marker.wire_name()));
        }
        assert_eq!(Marker::from_parts(Marker::STARTED, None, None), None);
        assert_eq!(Marker::from_parts("EpochPaused", None, None), None);
    }
}
