//! [`Generations`] of `search` on Elasticsearch. Each generation is an index. The pointer's document has all that is known of
//! them, and every change of it is conditional, so that of several processes one succeeds.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use elasticsearch::http::Method;
use events::Position;
use read_model::generations::{LEASE, SWAP_TIMEOUT};
use read_model::{
    BackendError, Build, BuildStore, CatchUp, Checkpoint, DeadLetter, GenerationNumber, Generations, GenerationsError,
    Projection, Swap,
};
use thiserror_ext::AsReport;
use tokio::time::Instant;
use uuid::Uuid;

use super::client::{BULK_TIMEOUT, Body, ElasticClient, Request, SERVER_BULK_TIMEOUT};
use super::document_version::DocumentVersion;
use super::error::{BuildError, ElasticError, UrlError};
use super::generation_cache::GenerationCache;
use super::index_names::IndexNames;
use super::index_version::IndexVersion;
use super::pointer::{self, Built, Former, Pointer, PointerState};
use super::prepare::prepare_index;
use super::{ElasticIndex, PREFIX, checkpoints, write_block};

/// Attempts to change the pointer. Each fails only because somebody else has changed it.
const MAX_ATTEMPTS: u32 = 10;
/// Pause between two looks at a build that may have been left.
const BEAT_POLL: Duration = Duration::from_secs(1);

/// [`Generations`] of `search`.
///
/// `begin` waits for up to [`LEASE`] if another process has begun a generation: whether that process is there shows in the beats that
/// it writes, not in the time of any clock.
pub struct ElasticGenerations {
    pub(super) client: ElasticClient,
    pub(super) prefix: String,
    /// Held during a swap and during a beat: a beat would look to the swap like another process.
    turn: tokio::sync::Mutex<()>,
}

/// What becomes of the pointer.
pub(super) enum Change<T> {
    Write(T),
    /// It stays as it is.
    Keep(T),
}

impl ElasticGenerations {
    /// The generations on the server at `url`. Connects to nothing. [`ElasticIndex::prepare`] must have succeeded once.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn new(url: &str) -> Result<Self, UrlError> {
        Self::with_prefix(url, PREFIX)
    }

    /// The same with other names; see [`ElasticIndex::with_prefix`].
    pub fn with_prefix(url: &str, prefix: &str) -> Result<Self, UrlError> {
        Ok(Self { client: ElasticClient::new(url)?, prefix: prefix.to_owned(), turn: tokio::sync::Mutex::default() })
    }

    pub(super) fn names(&self, generation: u32) -> IndexNames {
        IndexNames::new(&self.prefix, generation)
    }

    pub(super) async fn read(&self) -> Result<PointerState, ElasticError> {
        pointer::read(&self.client, &self.prefix).await?.ok_or(ElasticError::NotPrepared)
    }

    async fn update(&self, state: &PointerState) -> Result<Option<DocumentVersion>, ElasticError> {
        pointer::update(&self.client, &self.prefix, &state.pointer, state.version).await
    }

    /// Changes the pointer as it is at the moment.
    pub(super) async fn change<T>(&self, change: impl Fn(&mut Pointer) -> Change<T>) -> Result<T, BuildError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut state = self.read().await?;
            match change(&mut state.pointer) {
                Change::Keep(outcome) => return Ok(outcome),
                Change::Write(outcome) => {
                    if self.update(&state).await?.is_some() {
                        return Ok(outcome);
                    }
                }
            }
        }
        Err(BuildError::Contended { attempts: MAX_ATTEMPTS })
    }

    /// Begins an index, or takes over one that was begun; `None` while another process owns it.
    async fn try_begin(&self, projection: Projection) -> Result<Option<Build>, BuildError> {
        check_is_kept(projection)?;
        pointer::extend_mapping(&self.client, &self.prefix).await?;
        let Some(mut state) = self.wait_until_left().await? else { return Ok(None) };
        let lease = Uuid::new_v4();
        let generation = claim(&mut state.pointer, lease)?;
        if self.update(&state).await?.is_none() {
            return Ok(None);
        }
        prepare_index(&self.client, &self.names(generation), IndexVersion::CURRENT).await?;
        Ok(Some(Build { projection, generation: GenerationNumber(generation), lease }))
    }

    /// Reads the pointer once nobody builds; `None` if somebody does, or has just come to an end: then the live index may be what the
    /// caller wanted to build.
    async fn wait_until_left(&self) -> Result<Option<PointerState>, ElasticError> {
        let (seen, since) = (self.read().await?, Instant::now());
        if seen.pointer.generations.built.as_ref().is_none_or(Built::is_released) {
            return Ok(Some(seen));
        }
        loop {
            tokio::time::sleep(BEAT_POLL).await;
            let now = self.read().await?;
            if now.pointer.generations.built != seen.pointer.generations.built {
                return Ok(None);
            }
            if since.elapsed() >= LEASE {
                return Ok(Some(now));
            }
        }
    }

    /// Writes a beat; `None` if another process owns the build.
    async fn beat(&self, build: &Build) -> Result<Option<()>, BuildError> {
        self.change(|pointer| match find_own(pointer, build) {
            None => Change::Keep(None),
            Some(built) => {
                built.beat += 1;
                Change::Write(Some(()))
            }
        })
        .await
    }

    /// Leaves the build to whoever comes next; `None` if another process owns it.
    async fn try_release(&self, build: &Build) -> Result<Option<()>, BuildError> {
        let _turn = self.turn.lock().await;
        self.change(|pointer| match find_own(pointer, build) {
            None => Change::Keep(None),
            Some(built) => {
                built.release();
                Change::Write(Some(()))
            }
        })
        .await
    }

    /// Makes the index of `build` live; `None` if another process owns it.
    async fn try_swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Swap>, BackendError> {
        let _turn = self.turn.lock().await;
        if self.beat(build).await.map_err(BackendError::from)?.is_none() {
            return Ok(None);
        }
        // From here on any other write of the pointer makes the move fail.
        let mut state = self.read().await?;
        if state.pointer.generations.is_paused {
            return Err(BuildError::Paused.into());
        }
        let live = self.names(state.pointer.generation);
        let Some(built) = find_own(&mut state.pointer, build).cloned() else { return Ok(None) };
        let moved = self.stop_writers_and_move(&built, rest, state, &live).await;
        if !matches!(moved, Ok(Swap::Done)) {
            // Also after an error: the move may have been written, or be under way. Then this changes nothing, or undoes it.
            write_block::lift(&self.client, &self.prefix, &live).await?;
        }
        moved.map(Some)
    }

    async fn stop_writers_and_move(
        &self,
        built: &Built,
        rest: &dyn CatchUp,
        mut state: PointerState,
        live: &IndexNames,
    ) -> Result<Swap, BackendError> {
        write_block::set(&self.client, &live.index).await?;
        // Counts from here on: it takes the server a while to set a block, and most of the time writers go on.
        let Ok(checkpoints) = tokio::time::timeout(SWAP_TIMEOUT, self.pass(live, rest)).await else {
            return Ok(Swap::Behind);
        };
        let checkpoints = checkpoints?;
        let partitions = checkpoints.bounds().map(|(partition, _)| partition).collect();
        let names = self.names(built.generation);
        let passed = checkpoints::read_position(&self.client, &names, &partitions, SWAP_TIMEOUT).await?;
        if !passed.covers(&checkpoints) {
            return Ok(Swap::Behind);
        }
        let former = Former { generation: live.generation, replaced_at_ms: now_ms() };
        state.pointer.generation = built.generation;
        state.pointer.version = built.version;
        state.pointer.generations.built = None;
        state.pointer.generations.former.push(former);
        let is_moved = self.update(&state).await?.is_some();
        Ok(if is_moved { Swap::Done } else { Swap::Behind })
    }

    /// Catches up with the live index, which nobody writes any more. Returns its checkpoints.
    async fn pass(&self, live: &IndexNames, rest: &dyn CatchUp) -> Result<Position, BackendError> {
        let checkpoints = Checkpoint::position(&checkpoints::read_all(&self.client, live).await?);
        rest.catch_up(&checkpoints).await?;
        Ok(checkpoints)
    }

    /// Gives the build up; `None` if another process owns it.
    async fn try_discard(&self, build: &Build) -> Result<Option<()>, BuildError> {
        let _turn = self.turn.lock().await;
        let given_up = self.change(|pointer| match find_own(pointer, build) {
            None => Change::Keep(None),
            Some(_) => {
                pointer.generations.built = None;
                let former = Former { generation: build.generation.0, replaced_at_ms: now_ms() };
                pointer.generations.former.push(former);
                Change::Write(Some(()))
            }
        });
        if given_up.await?.is_none() {
            return Ok(None);
        }
        self.delete(build.generation.0).await.map(Some)
    }

    async fn try_delete_former(&self, projection: Projection, keep: Duration) -> Result<(), BuildError> {
        check_is_kept(projection)?;
        let _turn = self.turn.lock().await;
        let Pointer { generation, generations, .. } = self.read().await?.pointer;
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let is_over = |former: &Former| now_ms().saturating_sub(former.replaced_at_ms) >= keep_ms;
        for former in generations.former.iter().filter(|former| is_over(former) && former.generation != generation) {
            self.delete(former.generation).await?;
        }
        Ok(())
    }

    /// Deletes a former index, and then its note, so that another call goes on after an interruption.
    async fn delete(&self, generation: u32) -> Result<(), BuildError> {
        let names = self.names(generation);
        let query = [("timeout", SERVER_BULK_TIMEOUT), ("master_timeout", SERVER_BULK_TIMEOUT)];
        let request = Request {
            method: Method::Delete,
            path: &names.index,
            query: &query,
            body: Body::Empty,
            timeout: BULK_TIMEOUT,
        };
        match self.client.send(request).await?.expect_success() {
            Ok(_) | Err(ElasticError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.change(|pointer| {
            pointer.generations.former.retain(|former| former.generation != generation);
            Change::Write(())
        })
        .await
    }
}

/// Gives the build to `lease`: the one that is there, or a new one. One of another version is given up: this program writes what
/// follows by its own.
fn claim(pointer: &mut Pointer, lease: Uuid) -> Result<u32, BuildError> {
    let version = IndexVersion::CURRENT;
    let others = &mut pointer.generations;
    let begun = others.built.take();
    let generation = match &begun {
        Some(built) if built.version == version => built.generation,
        _ => others.last.max(pointer.generation).checked_add(1).ok_or(BuildError::NumbersUsedUp)?,
    };
    others.former.extend(
        begun
            .filter(|begun| begun.generation != generation)
            .map(|begun| Former { generation: begun.generation, replaced_at_ms: now_ms() }),
    );
    others.last = others.last.max(generation);
    others.built = Some(Built { generation, version, owner: lease.to_string(), beat: 0 });
    Ok(generation)
}

/// The note of the build, if it still belongs to its owner.
fn find_own<'a>(pointer: &'a mut Pointer, build: &Build) -> Option<&'a mut Built> {
    let built = pointer.generations.built.as_mut();
    built.filter(|built| built.owner == build.lease.to_string() && built.generation == build.generation.0)
}

pub(super) fn check_is_kept(projection: Projection) -> Result<(), BuildError> {
    if projection == Projection::Search { Ok(()) } else { Err(BuildError::OtherProjection) }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Generations for ElasticGenerations {
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError> {
        match self.try_begin(projection).await {
            Ok(Some(build)) => Ok(build),
            Ok(None) => Err(GenerationsError::Busy(projection)),
            Err(error) => Err(GenerationsError::Begin { projection, source: error.into() }),
        }
    }

    async fn renew(&self, build: &Build) -> Result<(), GenerationsError> {
        let projection = build.projection;
        let _turn = self.turn.lock().await;
        match self.beat(build).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(GenerationsError::Lost(projection)),
            Err(error) => Err(GenerationsError::Use { projection, source: error.into() }),
        }
    }

    async fn release(&self, build: &Build) {
        // The lease ends by itself, too.
        if let Err(error) = self.try_release(build).await {
            tracing::warn!(error = %error.as_report(), "the next rebuild of search has to wait for the end of this one's lease");
        }
    }

    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError> {
        let generations = GenerationCache::of_build(&self.prefix, build.generation.0);
        Ok(BuildStore::Index(Arc::new(ElasticIndex::with_generations(self.client.clone(), generations))))
    }

    /// `search` keeps no dead letters.
    async fn new_dead_letters(&self, _build: &Build, _limit: u32) -> Result<Vec<DeadLetter>, GenerationsError> {
        Ok(Vec::new())
    }

    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError> {
        match self.try_swap(build, rest).await {
            Err(error) if error.downcast_ref().is_some_and(BuildError::is_paused) => {
                Err(GenerationsError::Paused(build.projection))
            }
            Ok(Some(swap)) => Ok(swap),
            Ok(None) => Err(GenerationsError::Lost(build.projection)),
            Err(source) => Err(GenerationsError::Swap { projection: build.projection, source }),
        }
    }

    async fn discard(&self, build: &Build) -> Result<(), GenerationsError> {
        let projection = build.projection;
        match self.try_discard(build).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(GenerationsError::Lost(projection)),
            Err(error) => Err(GenerationsError::Delete { projection, source: error.into() }),
        }
    }

    async fn delete_former(&self, projection: Projection, keep: Duration) -> Result<(), GenerationsError> {
        let deleted = self.try_delete_former(projection, keep).await;
        deleted.map_err(|error| GenerationsError::Delete { projection, source: error.into() })
    }
}
