//! The port that operators use: how a projection is, whether it is what the log makes of it, and pauses.

use std::collections::BTreeMap;

use async_trait::async_trait;
use events::{PartitionId, Position};

use crate::BackendError;
use crate::generations::{Build, CatchUp, Difference, GenerationNumber, Generations, GenerationsError};
use crate::store::{Checkpoint, Projection};

/// The most dead letters that are counted. This count stands for as many or more.
pub const MAX_COUNTED_LETTERS: u32 = 1_000;

/// The generation of a projection that readers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveGeneration {
    /// The version of the projection.
    pub version: u32,
    /// The generation.
    pub generation: GenerationNumber,
    /// Its checkpoints, of each partition that has one.
    pub checkpoints: BTreeMap<PartitionId, Checkpoint>,
    /// Its dead letters; [`MAX_COUNTED_LETTERS`] stands for that many or more.
    pub dead_letters: u64,
    /// Whether the projection is paused.
    pub is_paused: bool,
}

impl LiveGeneration {
    /// How far it is.
    pub fn position(&self) -> Position {
        Checkpoint::position(&self.checkpoints)
    }
}

/// Pauses projections.
///
/// - **Nothing is applied:** while a projection is paused, its stores answer every batch of the live generation with
///   [`Applied::Superseded`](crate::Applied::Superseded) and write nothing. Readers use what it has.
/// - **Lasting:** a pause survives restarts, swaps and rebuilds. It ends when it is lifted, or when the projection is deleted.
/// - A generation that is being built is not paused, but none is made live meanwhile; see [`GenerationsError::Paused`].
#[async_trait]
pub trait Pauses: Send + Sync {
    /// Whether the projection is paused.
    async fn is_paused(&self, projection: Projection) -> Result<bool, PauseError>;

    /// Pauses the projection or lets it go on. When this returns, the batches that had begun before have ended, and every later one
    /// knows.
    async fn set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), PauseError>;
}

/// Generations as an operator sees them.
#[async_trait]
pub trait OperateGenerations: Generations + Pauses {
    /// Reads how the live generation is.
    async fn live(&self, projection: Projection) -> Result<LiveGeneration, LiveError>;

    /// Compares a built generation, which has reached the checkpoints of the live one, with that one. `None` if the checkpoints could
    /// not be made equal in time; the caller tries again.
    ///
    /// A store with transactions keeps the writers of the live generation waiting for a moment, calls [`CatchUp::catch_up`] of `rest`
    /// with its checkpoints, and compares what both are then. One without compares in two steps: what the built generation has must be
    /// in the live one; and, after [`CatchUp::catch_up_to_end`], what the live one had before must be in the built one.
    async fn compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, GenerationsError>;
}

/// A pause could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// See [`Pauses::is_paused`].
    #[error("whether {} is paused cannot be read", .projection.name())]
    Read {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`Pauses::set_paused`].
    #[error("{} could not be paused or resumed; try again", .projection.name())]
    Change {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
}

/// A live generation could not be read.
#[derive(Debug, thiserror::Error)]
#[error("how far {} is cannot be read", .projection.name())]
pub struct LiveError {
    /// The projection.
    pub projection: Projection,
    /// The adapter's error.
    #[source]
    pub source: BackendError,
}
