//! The port that makes a projection anew while readers use it.
//!
//! A projection's rows, or its search index, are a *generation*. Readers use the live one. A rebuild fills another one beside it
//! from the start of the log, and then swaps the two.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::Position;
use uuid::Uuid;

use crate::BackendError;
use crate::changes::DeadLetter;
use crate::search_index::SearchIndex;
use crate::store::{Projection, ProjectionStore};

/// The number of a generation. A projection never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationNumber(pub u32);

/// How long a rebuild owns its generation after it has begun it or renewed its lease. Another process can then go on with it.
pub const LEASE: Duration = Duration::from_secs(15);
/// The longest time for which a swap keeps the writers of the live generation waiting.
pub const SWAP_TIMEOUT: Duration = Duration::from_secs(1);

/// A generation that this process fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// The projection.
    pub projection: Projection,
    /// The generation, which is not live.
    pub generation: GenerationNumber,
    /// Identifies the owner of the generation.
    pub lease: Uuid,
}

/// Writes a projection: its live generation, or that of a [`Build`].
pub enum BuildStore {
    /// The tables of `views` or `counts`.
    Tables(Arc<dyn ProjectionStore>),
    /// The index of `search`.
    Index(Arc<dyn SearchIndex>),
}

/// The outcome of an attempt to make a generation live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Readers use the generation from now on.
    Done,
    /// It did not pass the live generation in [`SWAP_TIMEOUT`]. Nothing has changed.
    Behind,
}

/// A difference between the rows of one table, or the documents of an index, in two generations of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The projection.
    pub projection: Projection,
    /// The table.
    pub table: &'static str,
    /// Rows that only the new generation has.
    pub missing: u64,
    /// Rows that only the live generation has.
    pub unexpected: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { projection, table, missing, unexpected } = self;
        let projection = projection.name();
        write!(f, "{projection}: {table} lacks {missing} rows and has {unexpected} that it should not have")
    }
}

/// Applies events to the generation of a [`Build`].
#[async_trait]
pub trait CatchUp: Send + Sync {
    /// Returns once the generation has applied everything before `position`, and nothing else.
    async fn catch_up(&self, position: &Position) -> Result<(), BackendError>;

    /// Returns once the generation has applied everything that the log has now.
    async fn catch_up_to_end(&self) -> Result<(), BackendError>;
}

/// Begins, swaps and deletes generations.
///
/// - **One owner:** a generation is filled by one process at a time, which renews its lease. When a process dies, another goes on
///   where it was, [`LEASE`] later at most.
/// - **No step back:** a swap happens only when the new generation has passed every checkpoint of the live one, which stands still
///   meanwhile. Readers that had seen an event see it afterwards.
/// - **Late writers are harmless:** whoever still writes the former generation after the swap changes nothing that readers see.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Begins a generation, or goes on with one that was begun. Fails with [`GenerationsError::Busy`] while another process owns it.
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError>;

    /// Extends the lease by [`LEASE`]. Fails with [`GenerationsError::Lost`] if another process owns the generation.
    async fn renew(&self, build: &Build) -> Result<(), GenerationsError>;

    /// Ends the lease of a generation that is left as it is, so that the next rebuild need not wait for its end. Does nothing if
    /// another process owns the generation. If it fails, the lease ends by itself.
    async fn release(&self, build: &Build);

    /// Writes this generation. Blocks nothing and connects to nothing.
    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError>;

    /// The first dead letters of the generation for events that the live one shows, `limit` at most.
    async fn new_dead_letters(&self, build: &Build, limit: u32) -> Result<Vec<DeadLetter>, GenerationsError>;

    /// Keeps the writers of the live generation waiting, calls `rest` with its checkpoints and makes the new generation live. `rest` may
    /// go beyond them: readers of an index may have found messages that its checkpoint does not cover yet.
    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError>;

    /// Deletes a generation that is not live.
    async fn discard(&self, build: &Build) -> Result<(), GenerationsError>;

    /// Deletes the generations that were replaced at least `keep` ago. Readers that began before may still use younger ones.
    async fn delete_former(&self, projection: Projection, keep: Duration) -> Result<(), GenerationsError>;
}

/// Why a generation could not be begun, swapped or deleted.
#[derive(Debug, thiserror::Error)]
pub enum GenerationsError {
    /// Another process rebuilds the projection.
    #[error("another process rebuilds {}; wait for its end, or end it and try again {} s later", .0.name(), LEASE.as_secs())]
    Busy(Projection),
    /// The lease has ended, and another process owns the generation.
    #[error("this process was away for too long, and another one rebuilds {} now", .0.name())]
    Lost(Projection),
    /// An operator has paused the projection, and a swap would let readers see more than it has.
    #[error("{} is paused, so it is not made anew; resume it first", .0.name())]
    Paused(Projection),
    /// See [`Generations::begin`].
    #[error("a new generation of {} cannot be begun", .projection.name())]
    Begin {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`Generations::renew`], [`Generations::writer`] and [`Generations::new_dead_letters`].
    #[error("the new generation of {} cannot be used", .projection.name())]
    Use {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`Generations::swap`].
    #[error("the new generation of {} could not be made live", .projection.name())]
    Swap {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`OperateGenerations::compare`](crate::OperateGenerations::compare).
    #[error("the live generation of {} and the new one cannot be compared", .projection.name())]
    Compare {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
    /// See [`Generations::discard`] and [`Generations::delete_former`].
    #[error("a former generation of {} could not be deleted", .projection.name())]
    Delete {
        /// The projection.
        projection: Projection,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
}
