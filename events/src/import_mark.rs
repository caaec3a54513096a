//! The marks that an import leaves in a log, and the digest by which it knows exports.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::event_id::EventId;
use crate::position::{PartitionId, Position};

/// Identifies a log and a position in it: a hash of the ids of all events before the position, without void ones, in the order of
/// each partition.
///
/// Two exports belong together if the digest at which one ends is that at which the other begins. A log that was damaged and has
/// grown again has other digests, even at the same offsets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogDigest([u8; LogDigest::BYTES]);

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the digest of a log is 64 lower-case hexadecimal digits")]
pub struct MalformedDigest;

impl LogDigest {
    /// Length in bytes.
    pub const BYTES: usize = 32;

    /// Makes a digest of bytes that a store has kept.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, in the order of the hexadecimal text.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The digest at the beginning of every log.
    pub fn of_nothing() -> Self {
        Self::of_partitions([])
    }

    /// The digest of a log with these partitions, in ascending order. Partitions without events do not count.
    pub fn of_partitions(partitions: impl IntoIterator<Item = (PartitionId, PartitionDigest)>) -> Self {
        let mut hasher = Sha256::new();
        for (partition, PartitionDigest { events, hasher: ids }) in partitions {
            if events > 0 {
                hasher.update(partition.0.to_be_bytes());
                hasher.update(events.to_be_bytes());
                hasher.update(ids.finalize());
            }
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for LogDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LogDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LogDigest {
    type Err = MalformedDigest;

    fn from_str(text: &str) -> Result<Self, MalformedDigest> {
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedDigest)?;
        Ok(Self(bytes))
    }
}

/// One partition's part of a [`LogDigest`].
#[derive(Debug, Clone, Default)]
pub struct PartitionDigest {
    events: u64,
    hasher: Sha256,
}

impl PartitionDigest {
    /// Adds the next event of the partition.
    pub fn add(&mut self, event_id: EventId) {
        self.events += 1;
        self.hasher.update(event_id.0.as_bytes());
    }

    /// The number of events that were added.
    pub const fn events(&self) -> u64 {
        self.events
    }
}

/// The two steps of an import of one export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPhase {
    /// The events of the export follow.
    Began,
    /// All events of the export are before the mark.
    Ended,
}

impl ImportPhase {
    /// Every phase.
    pub const ALL: [Self; 2] = [Self::Began, Self::Ended];

    /// The wire name.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Ended => "ended",
        }
    }

    /// Looks up a wire name.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.wire_name() == name)
    }
}

/// A mark in a log into which an export is imported. Projections ignore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportMark {
    /// Whether the import begins or ends.
    pub phase: ImportPhase,
    /// Of the exported log, where the export begins.
    pub before: LogDigest,
    /// Of the exported log, where the export ends.
    pub through: LogDigest,
    /// The end of the log that has the mark, before the mark.
    pub end: Position,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn partition(ids: &[u128]) -> PartitionDigest {
        let mut digest = PartitionDigest::default();
        ids.iter().for_each(|id| digest.add(EventId(Uuid::from_u128(*id))));
        digest
    }

    fn digest(partitions: &[(u16, &[u128])]) -> LogDigest {
        LogDigest::of_partitions(partitions.iter().map(|(id, ids)| (PartitionId(*id), partition(ids))))
    }

    /// Marks with it are in logs, and files with it are kept for years.
    #[test]
    fn the_digest_of_a_log_never_changes() {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(LogDigest::of_nothing().to_string(), nothing);
        assert_eq!(nothing.parse(), Ok(LogDigest::of_nothing()));
        let some = "e7759094f294c09066fb36ab313ffac721cf8ca5514678d2b5fc94ab0aec3388";
        assert_eq!(digest(&[(0, &[1, 2]), (3, &[3])]).to_string(), some);
    }

    #[test]
    fn events_order_and_partitions_tell_logs_apart_and_empty_partitions_do_not() {
        let log = digest(&[(0, &[1, 2]), (1, &[3])]);
        assert_eq!(log, digest(&[(0, &[1, 2]), (1, &[3]), (2, &[])]));
        for other in [
            digest(&[(0, &[2, 1]), (1, &[3])]),
            digest(&[(0, &[1, 2]), (2, &[3])]),
            digest(&[(0, &[1]), (1, &[2, 3])]),
            digest(&[(0, &[1, 2])]),
            digest(&[(0, &[1, 2, 3])]),
        ] {
            assert_ne!(log, other);
        }
    }

    #[test]
    fn other_texts_are_no_digest() {
        for text in ["", "e3b0", &"x".repeat(64)] {
            assert_eq!(text.parse::<LogDigest>(), Err(MalformedDigest));
        }
    }
}
