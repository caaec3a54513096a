//! Compares generations with those that are made anew, and pauses projections; see [`OperateGenerations`].

use std::sync::Arc;

use async_trait::async_trait;
use events::PartitionId;
use read_model::{
    BackendError, Build, CatchUp, Difference, GenerationsError, LiveError, LiveGeneration, OperateGenerations,
    PauseError, Pauses, Projection,
};

use super::SqliteProjections;
use super::generation::Generation;
use super::write_views::count_dead_letters;
use crate::compare::Comparison;

/// An earlier rebuild has filled the new generation further than the live one is.
#[derive(Debug, thiserror::Error)]
#[error("a rebuild that was stopped has come further than the live generation; run tally rebuild to its end first")]
struct AheadOfLive;

impl SqliteProjections {
    async fn try_compare(
        &self,
        build: &Build,
        new: Arc<Generation>,
        rest: &dyn CatchUp,
    ) -> Result<Option<Vec<Difference>>, BackendError> {
        let Some(passed) = self.pass_live(build, new, rest).await? else {
            return Ok(None);
        };
        if passed.reached != passed.goal {
            return Err(AheadOfLive.into());
        }
        let comparison = Comparison::begin(build.projection, passed.old.path(), passed.new.path()).await?;
        // The comparison reads the state of now, so the writers of the live generation can go on.
        drop(passed);
        Ok(Some(comparison.run().await?))
    }
}

#[async_trait]
impl Pauses for SqliteProjections {
    async fn is_paused(&self, projection: Projection) -> Result<bool, PauseError> {
        Ok(self.manifest.lock().is_paused(projection))
    }

    async fn set_paused(&self, projection: Projection, is_paused: bool) -> Result<(), PauseError> {
        // Waits for the batches that are being applied.
        let _no_writer = self.gate(projection).write().await;
        let changed = self.change_manifest(|manifest| manifest.set_paused(projection, is_paused));
        changed.map_err(|error| PauseError::Change { projection, source: error.into() })
    }
}

#[async_trait]
impl OperateGenerations for SqliteProjections {
    async fn live(&self, projection: Projection) -> Result<LiveGeneration, LiveError> {
        let live = Arc::clone(self.live().get(projection));
        let to_error = |error: rusqlite::Error| LiveError { projection, source: error.into() };
        Ok(LiveGeneration {
            version: live.version(),
            generation: live.number(),
            checkpoints: live.checkpoints().map_err(to_error)?,
            dead_letters: if projection == Projection::Views {
                live.read(|connection| count_dead_letters(connection, PartitionId::ALL)).map_err(to_error)?
            } else {
                0
            },
            is_paused: self.manifest.lock().is_paused(projection),
        })
    }

    async fn compare(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Vec<Difference>>, GenerationsError> {
        let compared = self.try_compare(build, self.find_build(build)?, rest).await;
        compared.map_err(|source| GenerationsError::Compare { projection: build.projection, source })
    }
}
