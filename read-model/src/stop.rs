//! What readers are told of a projection that cannot go on.

use events::PartitionId;

use crate::store::Projection;

/// A projection cannot go on in a partition, because a newer version has written to the log there.
///
/// Its projector notes this beside the checkpoint, for the readiness of readers in other processes. The note holds as long as the
/// checkpoint stays.
#[derive(Debug, thiserror::Error)]
#[error("the projection {} stands still in partition {partition}: {reason}", .projection.name())]
pub struct StandsStill {
    /// The projection.
    pub projection: Projection,
    /// The partition.
    pub partition: PartitionId,
    /// Why, as the projector reports it.
    pub reason: String,
}

/// The longest reason that a note has, in characters.
const MAX_REASON_CHARACTERS: usize = 1_000;

impl StandsStill {
    /// The part of a reason that a note has room for.
    pub fn shorten_reason(reason: &str) -> String {
        reason.chars().take(MAX_REASON_CHARACTERS).collect()
    }
}
