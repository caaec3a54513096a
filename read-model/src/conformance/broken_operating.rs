//! Generations with one fault, as an operator sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::changes::DeadLetter;
use crate::generations::{
    Build, BuildStore, CatchUp, Difference, GenerationNumber, Generations, GenerationsError, Swap,
};
use crate::operating::{LiveError, LiveGeneration, OperateGenerations, PauseError, Pauses};
use crate::store::Projection;

/// A fault of [`OperateGenerations`]. Each check of [`operating_conformance!`](crate::operating_conformance!) and of
/// [`search_operating_conformance!`](crate::search_operating_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the generations do wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatingFault {
    IgnoresPauses,
    PausesOthers,
    TellsNothing,
    InventsDifferences,
    FindsNothing,
    ComparesAnything,
}

struct BrokenOperating {
    generations: Arc<dyn OperateGenerations>,
    fault: OperatingFault,
}

impl OperatingFault {
    /// Wraps correct generations in some with this fault.
    pub fn inject(self, generations: Arc<dyn OperateGenerations>) -> Arc<dyn OperateGenerations> {
        Arc::new(BrokenOperating { generations, fault: self })
    }
}

#[async_trait]
impl Pauses for BrokenOperating {
    async fn is_paused(&self, projection: Projection) -> Result<bool, PauseError> {
        self.generations.is_paused(projection).await
    }

    async fn set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), PauseError> {
        match self.fault {
            OperatingFault::IgnoresPauses => Ok(()),
            OperatingFault::PausesOthers => {
                for projection in Projection::ALL {
                    self.generations.set_paused(projection, is_paused).await?;
                }
                Ok(())
            }
            _ => self.generations.set_paused(projection, is_paused).await,
        }
    }
}

#[async_trait]
impl OperateGenerations for BrokenOperating {
    async fn live(&self, projection: Projection) -> Result<LiveGeneration, LiveError> {
        match self.fault {
            OperatingFault::TellsNothing => Ok(LiveGeneration {
                version: 1,
                generation: GenerationNumber(1),
                checkpoints: BTreeMap::new(),
                dead_letters: 0,
                is_paused: false,
            }),
            _ => self.generations.live(projection).await,
        }
    }

    async fn compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, GenerationsError> {
        let invented = Difference { projection: build.projection, table: "invented", missing: 7, unexpected: 7 };
        let compared = self.generations.compare(build, rest).await?;
        Ok(match self.fault {
            OperatingFault::InventsDifferences => Some(vec![invented]),
            OperatingFault::FindsNothing | OperatingFault::ComparesAnything => Some(Vec::new()),
            _ => compared,
        })
    }
}

#[async_trait]
impl Generations for BrokenOperating {
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError> {
        self.generations.begin(projection).await
    }

    async fn renew(&self, build: &Build) -> Result<(), GenerationsError> {
        self.generations.renew(build).await
    }

    async fn release(&self, build: &Build) {
        self.generations.release(build).await;
    }

    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError> {
        self.generations.writer(build)
    }

    async fn new_dead_letters(&self, build: &Build, limit: u32) -> Result<Vec<DeadLetter>, GenerationsError> {
        self.generations.new_dead_letters(build, limit).await
    }

    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError> {
        self.generations.swap(build, rest).await
    }

    async fn discard(&self, build: &Build) -> Result<(), GenerationsError> {
        self.generations.discard(build).await
    }

    async fn delete_former(&self, projection: Projection, keep: Duration) -> Result<(), GenerationsError> {
        self.generations.delete_former(projection, keep).await
    }
}
