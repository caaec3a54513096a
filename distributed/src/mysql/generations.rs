//! [`Generations`] of `views` and `counts` on MySQL.
//!
//! The table `projections` names the live generation of each projection. The table `generations` has those that were begun or replaced,
//! and the versions of all but those that an earlier release has made.

use std::time::Duration;

use async_trait::async_trait;
use events::{Offset, PartitionId, Position};
use read_model::generations::{LEASE, SWAP_TIMEOUT};
use read_model::{
    BackendError, Build, BuildStore, CatchUp, DeadLetter, GenerationNumber, Generations, GenerationsError, Projection,
    Swap,
};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{Executor, MySqlConnection, Row};
use uuid::Uuid;

use super::checkpoint_tx::{Generation, is_contention};
use super::connections::{Connections, Lease, READ_WAIT, with_timeout};
use super::writer::Writer;
use super::{ClientError, former_rows, operating, parse_url, write_views};

/// The version of a generation that the table `generations` does not have.
pub(super) const FIRST_VERSION: u32 = 1;

/// [`Generations`] of `views` and `counts`.
///
/// Has connections of its own: while a swap keeps batches of the live generation waiting, they may use up those of their writers.
pub struct MySqlGenerations {
    pub(super) keepers: Connections,
    writers: Connections,
    pub(super) comparers: Connections,
}

impl MySqlGenerations {
    /// Uses the database at `url`, without connecting to it. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let options: MySqlConnectOptions = parse_url(url)?;
        Ok(Self {
            keepers: Connections::keepers(&options),
            writers: Connections::writers(&options),
            comparers: Connections::comparers(&options),
        })
    }

    /// Begins a generation, or takes over one that was begun; `None` while another process owns it. One of another version is given up:
    /// this program writes what follows by its own.
    async fn try_begin(&self, projection: Projection) -> Result<Option<Build>, sqlx::Error> {
        let mut transaction = self.begin_transaction().await?;
        let connection = &mut *transaction;
        // Locks the row of the counter, so that of several processes one begins.
        let last: u32 =
            sqlx::query_scalar("SELECT last_number FROM generation_numbers WHERE projection = ? FOR UPDATE")
                .bind(projection.name())
                .fetch_one(&mut *connection)
                .await?;
        let begun = sqlx::query(
            "SELECT generation, owned_until > UTC_TIMESTAMP(6), version FROM generations \
             WHERE projection = ? AND owner IS NOT NULL ORDER BY generation DESC LIMIT 1",
        )
        .bind(projection.name())
        .fetch_optional(&mut *connection)
        .await?;
        let lease = Uuid::new_v4();
        let generation = match begun {
            Some(row) if row.try_get::<i64, _>(1)? == 1 => {
                connection.execute("ROLLBACK").await?;
                transaction.give_back();
                return Ok(None);
            }
            Some(row) if row.try_get::<u32, _>(2)? == projection.version() => row.try_get(0)?,
            Some(row) => {
                give_up(connection, projection, row.try_get(0)?).await?;
                add_generation(connection, projection, last).await?
            }
            None => add_generation(connection, projection, last).await?,
        };
        let build = Build { projection, generation: GenerationNumber(generation), lease };
        own(connection, &build).await?;
        connection.execute("COMMIT").await?;
        transaction.give_back();
        Ok(Some(build))
    }

    pub(super) async fn begin_transaction(&self) -> Result<Lease, sqlx::Error> {
        let mut lease = self.keepers.lease().await?;
        lease.execute("START TRANSACTION").await?;
        Ok(lease)
    }

    /// Extends the lease; false if it is another's.
    async fn try_renew(&self, build: &Build) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin_transaction().await?;
        let is_owner = lock_owner(&mut transaction, build).await?;
        if is_owner {
            own(&mut transaction, build).await?;
        }
        transaction.execute("COMMIT").await?;
        transaction.give_back();
        Ok(is_owner)
    }

    /// Ends the lease, unless it is another's.
    async fn try_release(&self, build: &Build) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin_transaction().await?;
        if lock_owner(&mut transaction, build).await? {
            sqlx::query(
                "UPDATE generations SET owned_until = UTC_TIMESTAMP(6) WHERE projection = ? AND generation = ?",
            )
            .bind(build.projection.name())
            .bind(build.generation.0)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.execute("COMMIT").await?;
        transaction.give_back();
        Ok(())
    }

    /// Locks the live generation and catches up with it. Returns it, with the transaction that holds the locks.
    pub(super) async fn stop_writers(
        &self,
        build: &Build,
        rest: &dyn CatchUp,
    ) -> Result<(Lease, Generation), BackendError> {
        let mut transaction = self.begin_transaction().await?;
        let former: u32 = sqlx::query_scalar("SELECT generation FROM projections WHERE name = ? FOR UPDATE")
            .bind(build.projection.name())
            .fetch_one(&mut *transaction)
            .await?;
        let former = Generation(former);
        let checkpoints = lock_checkpoints(&mut transaction, build.projection, former).await?;
        rest.catch_up(&checkpoints).await?;
        Ok((transaction, former))
    }

    async fn try_swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Option<Swap>, BackendError> {
        // Batches wait from the moment at which this asks for the pointer's lock. So one bound is for all of it.
        let Ok(stopped) = tokio::time::timeout(SWAP_TIMEOUT, self.stop_writers(build, rest)).await else {
            return Ok(Some(Swap::Behind));
        };
        let (mut transaction, former) = stopped?;
        let moved = with_timeout(READ_WAIT, move_pointer(&mut transaction, build, former)).await?;
        // Any other outcome closes the connection, which undoes the transaction.
        if moved == Some(Swap::Done) {
            transaction.give_back();
        }
        Ok(moved)
    }

    /// Marks the generation as one that is not built any more; false if it is another's.
    async fn disown(&self, build: &Build) -> Result<bool, sqlx::Error> {
        let mut transaction = self.begin_transaction().await?;
        let is_owner = lock_owner(&mut transaction, build).await?;
        if is_owner {
            give_up(&mut transaction, build.projection, build.generation.0).await?;
        }
        transaction.execute("COMMIT").await?;
        transaction.give_back();
        Ok(is_owner)
    }

    /// The generations that were replaced at least `keep` ago.
    async fn find_former(&self, projection: Projection, keep: Duration) -> Result<Vec<Generation>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT generations.generation FROM generations JOIN projections ON name = projection \
             WHERE projection = ? AND generations.generation <> projections.generation \
             AND timestampdiff(MICROSECOND, replaced_at, UTC_TIMESTAMP(6)) >= ? ORDER BY generations.generation",
        );
        let keep_us = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let rows = self.keepers.fetch_all(statement.bind(projection.name()).bind(keep_us)).await?;
        rows.iter().map(|row| row.try_get(0).map(Generation)).collect()
    }
}

/// Marks a generation as one that nobody builds any more, to be deleted.
async fn give_up(connection: &mut MySqlConnection, projection: Projection, generation: u32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE generations SET owner = NULL, owned_until = NULL, replaced_at = UTC_TIMESTAMP(6) \
         WHERE projection = ? AND generation = ?",
    )
    .bind(projection.name())
    .bind(generation)
    .execute(connection)
    .await
    .map(drop)
}

/// Adds the next generation, and returns its number.
async fn add_generation(
    connection: &mut MySqlConnection,
    projection: Projection,
    last: u32,
) -> Result<u32, sqlx::Error> {
    let number = last.checked_add(1).ok_or_else(|| {
        sqlx::Error::InvalidArgument(format!("all numbers for generations of {} are used up", projection.name()))
    })?;
    sqlx::query("UPDATE generation_numbers SET last_number = ? WHERE projection = ?")
        .bind(number)
        .bind(projection.name())
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO generations (projection, generation, version) VALUES (?, ?, ?)")
        .bind(projection.name())
        .bind(number)
        .bind(projection.version())
        .execute(connection)
        .await?;
    Ok(number)
}

/// Gives the generation to the lease of `build`, from now on for [`LEASE`] by the server's clock.
async fn own(connection: &mut MySqlConnection, build: &Build) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE generations SET owner = ?, owned_until = UTC_TIMESTAMP(6) + INTERVAL ? SECOND \
         WHERE projection = ? AND generation = ?",
    )
    .bind(build.lease.as_bytes().to_vec())
    .bind(LEASE.as_secs())
    .bind(build.projection.name())
    .bind(build.generation.0)
    .execute(connection)
    .await
    .map(drop)
}

/// Locks the row of the generation, and waits for the batches that write it. Returns whether `build` owns it.
async fn lock_owner(connection: &mut MySqlConnection, build: &Build) -> Result<bool, sqlx::Error> {
    let owner: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT owner FROM generations WHERE projection = ? AND generation = ? FOR UPDATE")
            .bind(build.projection.name())
            .bind(build.generation.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.flatten().is_some_and(|owner| owner == build.lease.as_bytes()))
}

/// Locks the checkpoints of a generation, for writers that do not look at the pointer.
pub(super) async fn lock_checkpoints(
    connection: &mut MySqlConnection,
    projection: Projection,
    generation: Generation,
) -> Result<Position, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT partition_id, next_offset FROM checkpoints WHERE projection = ? AND generation = ? FOR SHARE",
    )
    .bind(projection.name())
    .bind(generation.0)
    .fetch_all(connection)
    .await?;
    let mut position = Position::default();
    for row in rows {
        position.merge(&Position::up_to(PartitionId(row.try_get(0)?), Offset(row.try_get(1)?)));
    }
    Ok(position)
}

/// Makes the generation live if it has passed `former`, in a transaction that has locked `former`; `None` if `build` has lost its
/// lease.
async fn move_pointer(
    connection: &mut MySqlConnection,
    build: &Build,
    former: Generation,
) -> Result<Option<Swap>, sqlx::Error> {
    let (projection, generation) = (build.projection, Generation(build.generation.0));
    if !lock_owner(connection, build).await? {
        return Ok(None);
    }
    // The next attempt fails and says so.
    if operating::lock_is_paused(connection, projection).await? {
        return Ok(Some(Swap::Behind));
    }
    let checkpoints = lock_checkpoints(connection, projection, former).await?;
    let has_passed = lock_checkpoints(connection, projection, generation).await?.covers(&checkpoints);
    // The last events may be such ones. The caller looks for them before its next attempt.
    if !has_passed || !write_views::load_new_dead_letters(connection, generation, 1).await?.is_empty() {
        return Ok(Some(Swap::Behind));
    }
    sqlx::query("UPDATE projections SET generation = ? WHERE name = ?")
        .bind(generation.0)
        .bind(projection.name())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE generations SET owner = NULL, owned_until = NULL WHERE projection = ? AND generation = ?")
        .bind(projection.name())
        .bind(generation.0)
        .execute(&mut *connection)
        .await?;
    // The first generation of a database was never begun, so it may have no row yet.
    sqlx::query(
        "INSERT INTO generations (projection, generation, version, replaced_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6)) AS new \
         ON DUPLICATE KEY UPDATE replaced_at = new.replaced_at",
    )
    .bind(projection.name())
    .bind(former.0)
    .bind(FIRST_VERSION)
    .execute(&mut *connection)
    .await?;
    connection.execute("COMMIT").await?;
    Ok(Some(Swap::Done))
}

/// Whether an error says that others had the locks for too long.
fn is_lock_wait(error: &BackendError) -> bool {
    error.downcast_ref::<sqlx::Error>().is_some_and(is_contention)
}

#[async_trait]
impl Generations for MySqlGenerations {
    async fn begin(&self, projection: Projection) -> Result<Build, GenerationsError> {
        match with_timeout(READ_WAIT, self.try_begin(projection)).await {
            Ok(Some(build)) => Ok(build),
            Ok(None) => Err(GenerationsError::Busy(projection)),
            // Another process begins at this moment, or one that was away still writes.
            Err(error) if is_contention(&error) => Err(GenerationsError::Busy(projection)),
            Err(error) => Err(GenerationsError::Begin { projection, source: error.into() }),
        }
    }

    async fn renew(&self, build: &Build) -> Result<(), GenerationsError> {
        let projection = build.projection;
        match with_timeout(READ_WAIT, self.try_renew(build)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(GenerationsError::Lost(projection)),
            Err(error) => Err(GenerationsError::Use { projection, source: error.into() }),
        }
    }

    async fn release(&self, build: &Build) {
        // The lease ends by itself, too.
        if let Err(error) = with_timeout(READ_WAIT, self.try_release(build)).await {
            let projection = build.projection.name();
            tracing::warn!(%error, "the next rebuild of {projection} has to wait for the end of this one's lease");
        }
    }

    fn writer(&self, build: &Build) -> Result<BuildStore, GenerationsError> {
        Ok(BuildStore::Tables(std::sync::Arc::new(Writer::of_build(self.writers.clone(), *build))))
    }

    async fn new_dead_letters(&self, build: &Build, limit: u32) -> Result<Vec<DeadLetter>, GenerationsError> {
        let projection = build.projection;
        // Only `views` keeps dead letters.
        if projection != Projection::Views {
            return Ok(Vec::new());
        }
        let load = async {
            let mut lease = self.keepers.lease().await?;
            let letters = write_views::load_new_dead_letters(&mut lease, Generation(build.generation.0), limit).await?;
            lease.give_back();
            Ok(letters)
        };
        with_timeout(READ_WAIT, load).await.map_err(|error| GenerationsError::Use { projection, source: error.into() })
    }

    async fn swap(&self, build: &Build, rest: &dyn CatchUp) -> Result<Swap, GenerationsError> {
        let to_error = |source| GenerationsError::Swap { projection: build.projection, source };
        if self.load_is_paused(build.projection).await.map_err(|error| to_error(error.into()))? {
            return Err(GenerationsError::Paused(build.projection));
        }
        match self.try_swap(build, rest).await {
            Ok(Some(swap)) => Ok(swap),
            Ok(None) => Err(GenerationsError::Lost(build.projection)),
            Err(error) if is_lock_wait(&error) => Ok(Swap::Behind),
            Err(source) => Err(to_error(source)),
        }
    }

    async fn discard(&self, build: &Build) -> Result<(), GenerationsError> {
        let projection = build.projection;
        let to_error = |error: sqlx::Error| GenerationsError::Delete { projection, source: error.into() };
        if !with_timeout(READ_WAIT, self.disown(build)).await.map_err(to_error)? {
            return Err(GenerationsError::Lost(projection));
        }
        former_rows::delete(&self.keepers, projection, Generation(build.generation.0)).await.map_err(to_error)
    }

    async fn delete_former(&self, projection: Projection, keep: Duration) -> Result<(), GenerationsError> {
        let to_error = |error: sqlx::Error| GenerationsError::Delete { projection, source: error.into() };
        let former = with_timeout(READ_WAIT, self.find_former(projection, keep)).await.map_err(to_error)?;
        for generation in former {
            former_rows::delete(&self.keepers, projection, generation).await.map_err(to_error)?;
        }
        Ok(())
    }
}
