//! Generations with one fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::Position;
use uuid::Uuid;

use crate::BackendError;
use crate::changes::DeadLetter;
use crate::generations::{Build, BuildStore, CatchUp, GenerationNumber, Generations, GenerationsError, Swap};
use crate::store::Projection;

/// A fault of generations. Each check of [`generations_conformance!`](crate::generations_conformance!) and of
/// [`search_generations_conformance!`](crate::search_generations_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the generations do wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationsFault {
    ClaimsToSwap,
    LetsWritersGoOn,
    WaitsForEver,
    HasManyOwners,
    ForgetsBuilds,
    UsesNumbersTwice,
    HidesNewDeadLetters,
    KeepsLeases,
}

struct BrokenGenerations {
    generations: Arc<dyn Generations>,
    fault: GenerationsFault,
}

impl GenerationsFault {
    /// Wraps correct generations in some with this fault.
    pub fn inject(self, generations: Arc<dyn Generations>) -> Arc<dyn Generations> {
        Arc::new(BrokenGenerations { generations, fault: self })
    }
}

/// The number that a fault gives to every generation.
const SAME_NUMBER: GenerationNumber = GenerationNumber(u32::MAX);

/// Catches up with nothing, as if that had been done before.
struct Nothing;

#[async_trait]
impl CatchUp for Nothing {
    async fn catch_up(&self, _position: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[async_trait]
impl Generations for BrokenGenerations {
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError> {
        let begun = self.generations.begin(projection).await;
        match (self.fault, begun) {
            (GenerationsFault::HasManyOwners, Err(GenerationsError::Busy(projection))) => {
                Ok(Build { projection, generation: SAME_NUMBER, lease: Uuid::new_v4() })
            }
            (GenerationsFault::ForgetsBuilds, Ok(build)) => {
                self.generations.discard(&build).await?;
                self.generations.begin(projection).await
            }
            (GenerationsFault::UsesNumbersTwice, Ok(build)) => {
                self.generations.discard(&build).await?;
                Ok(Build { generation: SAME_NUMBER, ..build })
            }
            (_, begun) => begun,
        }
    }

    async fn renew(&self, build: &Build) -> Result<(), GenerationsError> {
        self.generations.renew(build).await
    }

    async fn release(&self, build: &Build) {
        if self.fault != GenerationsFault::KeepsLeases {
            self.generations.release(build).await;
        }
    }

    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError> {
        self.generations.writer(build)
    }

    async fn new_dead_letters(&self, build: &Build, limit: u32) -> Result<Vec<DeadLetter>, GenerationsError> {
        match self.fault {
            GenerationsFault::HidesNewDeadLetters => Ok(Vec::new()),
            _ => self.generations.new_dead_letters(build, limit).await,
        }
    }

    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError> {
        let to_error = |source| GenerationsError::Swap { projection: build.projection, source };
        match self.fault {
            GenerationsFault::ClaimsToSwap => Ok(Swap::Done),
            GenerationsFault::LetsWritersGoOn | GenerationsFault::WaitsForEver => {
                rest.catch_up(&Position::default()).await.map_err(to_error)?;
                self.generations.swap(build, &Nothing).await
            }
            _ => self.generations.swap(build, rest).await,
        }
    }

    async fn discard(&self, build: &Build) -> Result<(), GenerationsError> {
        match self.fault {
            GenerationsFault::UsesNumbersTwice => Ok(()),
            _ => self.generations.discard(build).await,
        }
    }

    async fn delete_former(&self, projection: Projection, keep: Duration) -> Result<(), GenerationsError> {
        self.generations.delete_former(projection, keep).await
    }
}
