//! Makes projections anew beside the live ones; see [`Generations`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use events::{EventId, Offset, Position};
use parking_lot::Mutex;
use read_model::generations::{LEASE, SWAP_TIMEOUT};
use read_model::{
    BackendError, Build, BuildStore, CatchUp, DeadLetter, Generations, GenerationsError, Projection, SourceEvent, Swap,
};
use rusqlite::Result;
use thiserror_ext::AsReport;
use tokio::sync::RwLockWriteGuard;
use uuid::Uuid;

use super::generation::{Generation, Name};
use super::generation_store::GenerationStore;
use super::manifest::{Manifest, database_path};
use super::{OpenProjectionsError, SqliteProjections};
use crate::file_format::delete_database;
use crate::sqlite::{Database, Durability, run_blocking, run_in_place};

/// A generation that a rebuild fills.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) generation: Arc<Generation>,
    lease: Uuid,
    /// Until when nobody else may fill it.
    until: Instant,
}

/// The generations that rebuilds fill.
pub(super) type Builds = Arc<Mutex<BTreeMap<Projection, Owned>>>;

/// The right of one rebuild to write its generation.
pub(super) struct Lease {
    builds: Builds,
    build: Build,
}

impl Lease {
    /// Whether no other rebuild has taken the generation over.
    pub(super) fn is_held(&self) -> bool {
        self.builds.lock().get(&self.build.projection).is_some_and(|owned| owned.lease == self.build.lease)
    }
}

/// A new generation that has passed the live one, whose writers wait.
pub(super) struct Passed<'a> {
    no_writer: RwLockWriteGuard<'a, ()>,
    pub(super) old: Arc<Generation>,
    /// The checkpoints of the live generation.
    pub(super) goal: Position,
    pub(super) new: Arc<Generation>,
    /// The checkpoints of the new one.
    pub(super) reached: Position,
}

/// The generation of a rebuild is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the new generation is damaged; run the rebuild again: it begins another one")]
struct NewIsDamaged;

impl SqliteProjections {
    /// Opens the generation that an earlier rebuild has begun, or creates one.
    fn open_build(&self, projection: Projection) -> Result<Arc<Generation>, OpenProjectionsError> {
        if let Some(begun) = self.builds.lock().get(&projection)
            && !begun.generation.damage().is_found()
        {
            return Ok(Arc::clone(&begun.generation));
        }
        let mut manifest = self.manifest.lock();
        if let Some(number) = manifest.building(projection) {
            let path = database_path(&self.directory, projection, number);
            match Generation::open(Name { projection, number }, path, self.log_id) {
                Ok(generation) if generation.version() == projection.version() => return Ok(generation),
                // An earlier release has begun it, and this one writes other rows.
                Ok(generation) => generation.abandon(),
                Err(error) if !error.is_lasting() => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the generation that was begun cannot be used; another one is begun");
                }
            }
        }
        let mut changed = manifest.clone();
        let number = changed.build(&self.directory, projection)?;
        let path = database_path(&self.directory, projection, number);
        let created = Generation::create(Name { projection, number }, path.clone(), self.log_id);
        let generation = created.inspect_err(|_| delete_partial(&path))?;
        changed.store(&self.directory).inspect_err(|_| generation.abandon())?;
        *manifest = changed;
        Ok(generation)
    }

    /// The generation of a build that this process still owns.
    pub(super) fn find_build(&self, build: &Build) -> Result<Arc<Generation>, GenerationsError> {
        self.with_owned(build, |owned| Arc::clone(&owned.generation))
    }

    /// Calls `use_it` if this build still owns its generation.
    fn with_owned<T>(&self, build: &Build, use_it: impl FnOnce(&mut Owned) -> T) -> Result<T, GenerationsError> {
        let mut builds = self.builds.lock();
        let owned = builds.get_mut(&build.projection).filter(|owned| owned.lease == build.lease);
        owned.map(use_it).ok_or(GenerationsError::Lost(build.projection))
    }

    /// Changes the manifest, first in its file.
    pub(super) fn change_manifest(&self, change: impl FnOnce(&mut Manifest)) -> std::io::Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        change(&mut changed);
        run_in_place(|| changed.store(&self.directory))?;
        *manifest = changed;
        Ok(())
    }

    /// Stops the writers of the live generation and lets the new one pass it. `None` if that took too long.
    pub(super) async fn pass_live(
        &self,
        build: &Build,
        new: Arc<Generation>,
        rest: &dyn CatchUp,
    ) -> Result<Option<Passed<'_>>, BackendError> {
        let Ok(no_writer) = tokio::time::timeout(SWAP_TIMEOUT, self.gate(build.projection).write()).await else {
            return Ok(None);
        };
        let old = Arc::clone(self.live().get(build.projection));
        // Known without reading the live generation, which may be damaged.
        let goal = self.progress.position(build.projection);
        match tokio::time::timeout(SWAP_TIMEOUT, rest.catch_up(&goal)).await {
            Err(_elapsed) => return Ok(None),
            Ok(caught_up) => caught_up?,
        }
        let reached = new.position()?;
        Ok(reached.covers(&goal).then_some(Passed { no_writer, old, goal, new, reached }))
    }

    async fn try_swap(&self, build: &Build, new: Arc<Generation>, rest: &dyn CatchUp) -> Result<Swap, BackendError> {
        let projection = build.projection;
        let Some(Passed { no_writer, old, new, reached, .. }) = self.pass_live(build, new, rest).await? else {
            return Ok(Swap::Behind);
        };
        if new.damage().is_found() {
            return Err(NewIsDamaged.into());
        }
        // The next attempt fails and says so.
        if self.manifest.lock().is_paused(projection) {
            return Ok(Swap::Behind);
        }
        // The events since the rebuild has asked. It asks again before the next attempt.
        if !run_in_place(|| find_new_dead_letters(&new, &old, 1))?.is_empty() {
            return Ok(Swap::Behind);
        }
        // Opens the database by its path: the next start finds it, too. The other projections may be damaged or missing.
        drop(Database::new(new.path(), Durability::Crash).connect_reader()?);
        let next = self.live().with(&new);
        self.change_manifest(|manifest| manifest.swap(projection))?;
        let former = std::mem::replace(&mut *self.live.write(), next);
        self.builds.lock().remove(&projection);
        self.progress.publish(projection, &reached);
        drop(no_writer);
        old.abandon();
        // Whoever lets go last closes and deletes the database: this thread, unless a read still uses it.
        run_blocking(move || {
            drop((old, former));
            Ok(())
        })
        .await?;
        Ok(Swap::Done)
    }
}

#[async_trait]
impl Generations for SqliteProjections {
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError> {
        let is_owned = |owned: &Owned| owned.until > Instant::now();
        if self.builds.lock().get(&projection).is_some_and(is_owned) {
            return Err(GenerationsError::Busy(projection));
        }
        let opened = run_in_place(|| self.open_build(projection));
        let generation = opened.map_err(|error| GenerationsError::Begin { projection, source: error.into() })?;
        let build = Build { projection, generation: generation.number(), lease: Uuid::new_v4() };
        let owned = Owned { generation, lease: build.lease, until: Instant::now() + LEASE };
        let mut builds = self.builds.lock();
        if builds.get(&projection).is_some_and(is_owned) {
            return Err(GenerationsError::Busy(projection));
        }
        builds.insert(projection, owned);
        Ok(build)
    }

    async fn renew(&self, build: &Build) -> Result<(), GenerationsError> {
        self.with_owned(build, |owned| owned.until = Instant::now() + LEASE)
    }

    async fn release(&self, build: &Build) {
        if self.find_build(build).is_ok_and(|generation| generation.has_no_space()) {
            // The log needs the space.
            if let Err(error) = self.discard(build).await {
                tracing::warn!(error = %error.as_report(), "the disk is full, and the new generation could not be deleted");
            }
            return;
        }
        // Another process owns it otherwise, and nothing is to be done.
        drop(self.with_owned(build, |owned| owned.until = Instant::now()));
    }

    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError> {
        let builds = self.builds.lock();
        let owned = builds.get(&build.projection).filter(|owned| owned.generation.number() == build.generation);
        let generation = Arc::clone(&owned.ok_or(GenerationsError::Lost(build.projection))?.generation);
        let lease = Lease { builds: Arc::clone(&self.builds), build: *build };
        let store = Arc::new(GenerationStore::built(generation, lease));
        Ok(match build.projection {
            Projection::Views | Projection::Counts => BuildStore::Tables(store),
            Projection::Search => BuildStore::Index(store),
        })
    }

    async fn new_dead_letters(&self, build: &Build, limit: u32) -> Result<Vec<DeadLetter>, GenerationsError> {
        let (new, live) = (self.find_build(build)?, Arc::clone(self.live().get(build.projection)));
        let letters = run_in_place(|| find_new_dead_letters(&new, &live, limit));
        letters.map_err(|error| GenerationsError::Use { projection: build.projection, source: error.into() })
    }

    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError> {
        let built = self.find_build(build)?;
        if self.manifest.lock().is_paused(build.projection) {
            return Err(GenerationsError::Paused(build.projection));
        }
        let swapped = self.try_swap(build, built, rest).await;
        swapped.map_err(|source| GenerationsError::Swap { projection: build.projection, source })
    }

    async fn discard(&self, build: &Build) -> Result<(), GenerationsError> {
        let projection = build.projection;
        let generation = self.find_build(build)?;
        let forgotten = self.change_manifest(|manifest| manifest.discard(projection));
        forgotten.map_err(|error| GenerationsError::Delete { projection, source: error.into() })?;
        self.builds.lock().remove(&projection);
        generation.abandon();
        Ok(())
    }

    /// Does nothing: a former generation is deleted after the last read that uses it.
    async fn delete_former(&self, _projection: Projection, _keep: Duration) -> Result<(), GenerationsError> {
        Ok(())
    }
}

/// Deletes what a failed attempt to create a database has left.
fn delete_partial(path: &Path) {
    if let Err(error) = delete_database(path) {
        tracing::warn!(%error, "{} could not be deleted; the next start tries again", path.display());
    }
}

/// The dead letters of `new` that `live` does not have, although it has passed them.
fn find_new_dead_letters(new: &Generation, live: &Generation, limit: u32) -> Result<Vec<DeadLetter>> {
    if new.projection() != Projection::Views {
        return Ok(Vec::new());
    }
    if let Err(error) = read_dead_letters(live.path()) {
        tracing::warn!(%error, "the live projection is damaged, so its dead letters are not compared with the new ones");
        return Ok(Vec::new());
    }
    query_new_dead_letters(new, live, limit)
}

/// Reads what [`query_new_dead_letters`] reads of a live generation, with a connection that has nothing in memory.
fn read_dead_letters(live: &Path) -> Result<()> {
    let sql = "SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM dead_letters)";
    Database::new(live, Durability::Crash).connect_reader()?.query_row(sql, (), |_| Ok(()))
}

fn query_new_dead_letters(new: &Generation, live: &Generation, limit: u32) -> Result<Vec<DeadLetter>> {
    let attached = ("live", live.path().to_owned());
    let connection = Database::new(new.path(), Durability::Crash).attach([attached]).connect_reader()?;
    let mut statement = connection.prepare(
        "SELECT log_offset, event_id, reason FROM main.dead_letters AS new \
         WHERE log_offset < (SELECT next_offset FROM live.checkpoints AS passed WHERE passed.partition = new.partition) \
         AND NOT EXISTS (SELECT 1 FROM live.dead_letters AS known \
         WHERE known.partition = new.partition AND known.log_offset = new.log_offset) LIMIT ?",
    )?;
    let letters = statement.query_map([limit], |row| {
        let offset = Offset(row.get::<_, i64>(0)?.cast_unsigned());
        let event_id = EventId(Uuid::from_bytes(row.get(1)?));
        Ok(DeadLetter { source: SourceEvent { event_id, offset }, reason: row.get(2)? })
    });
    letters?.collect()
}
