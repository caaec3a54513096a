//! A database for each test, on the MySQL that all tests share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distributed::mysql::{MySqlGenerations, MySqlProjections, migrate};
use events::Position;
use read_model::{Access, BackendError, CatchUp, Feed, Generations, OperateGenerations, ProjectionStore, Views};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use testkit::polling;

use crate::containers;
use crate::fault_proxy::FaultProxy;

/// Longest wait for an event that must happen.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// A database that no other test uses.
pub(crate) struct Database {
    url: String,
}

/// The new generation has everything already.
pub(crate) struct NothingToCatchUp;

#[async_trait]
impl CatchUp for NothingToCatchUp {
    async fn catch_up(&self, _: &Position) -> Result<(), BackendError> {
        Ok(())
    }

    async fn catch_up_to_end(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Runs a test on its own database.
pub(crate) async fn on_a_database(test: impl AsyncFnOnce(Database)) {
    test(Database::new().await).await;
}

impl Database {
    /// Creates a database with the tables.
    pub(crate) async fn new() -> Self {
        let database = Self::empty().await;
        migrate(&database.url).await.unwrap();
        database
    }

    /// Creates a database without tables.
    pub(crate) async fn empty() -> Self {
        Self { url: containers::database("test").await }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn name(&self) -> &str {
        self.url.rsplit_once('/').unwrap().1
    }

    /// Deletes all tables.
    pub(crate) async fn recreate(&self) {
        let mut connection = self.connect().await;
        for statement in ["DROP", "CREATE"] {
            // The name was made up by the tests. DROP and CREATE take no parameters.
            let statement = AssertSqlSafe(format!("{statement} DATABASE {}", self.name()));
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// `HOST:PORT` of the server.
    pub(crate) fn address(&self) -> &str {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        server.rsplit_once('@').unwrap().1
    }

    /// The URL of this database through a proxy.
    pub(crate) fn url_by(&self, proxy: &FaultProxy) -> String {
        self.url.replace(self.address(), &proxy.address())
    }

    pub(crate) fn store(&self) -> Arc<dyn ProjectionStore> {
        self.projections()
    }

    pub(crate) fn views(&self) -> Arc<dyn Views> {
        self.projections()
    }

    pub(crate) fn access(&self) -> Arc<dyn Access> {
        self.projections()
    }

    pub(crate) fn feed(&self) -> Arc<dyn Feed> {
        self.projections()
    }

    pub(crate) fn operated(&self) -> Arc<dyn OperateGenerations> {
        Arc::new(MySqlGenerations::new(&self.url).unwrap())
    }

    pub(crate) fn generations(&self) -> Arc<dyn Generations> {
        Arc::new(MySqlGenerations::new(&self.url).unwrap())
    }

    pub(crate) fn projections(&self) -> Arc<MySqlProjections> {
        Arc::new(MySqlProjections::new(&self.url).unwrap())
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        self.url.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
    }

    /// How many rows the server has examined for the statements whose text is like this pattern, and how many came out of a sort. It does
    /// not count as examined what it reads to sort it.
    pub(crate) async fn examined(&self, pattern: &str) -> (u64, u64) {
        let statement = "SELECT CAST(coalesce(sum(sum_rows_examined), 0) AS UNSIGNED), \
             CAST(coalesce(sum(sum_sort_rows), 0) AS UNSIGNED) FROM performance_schema.prepared_statements_instances \
             JOIN performance_schema.threads ON thread_id = owner_thread_id \
             WHERE processlist_db = database() AND sql_text LIKE ? AND sql_text NOT LIKE '%performance_schema%'";
        sqlx::query_as(statement).bind(pattern).fetch_one(&mut self.connect().await).await.unwrap()
    }

    pub(crate) async fn run(&self, statement: &'static str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Counts the connections to this database for which a condition holds, without its own.
    pub(crate) async fn connections(&self, condition: &'static str) -> i64 {
        let mut connection = self.connect().await;
        let count = sqlx::query_scalar(AssertSqlSafe(format!(
            // The process list fails on statements of other connections whose values are not text.
            "SELECT count(*) FROM performance_schema.threads \
             WHERE processlist_db = ? AND processlist_id <> connection_id() AND {condition}"
        )));
        let count = count.bind(self.name()).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Waits until a transaction waits for the lock of a row in this database.
    pub(crate) async fn wait_for_a_lock_wait(&self) {
        let mut connection = self.connect().await;
        until("a wait for a lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM performance_schema.data_locks \
                 WHERE object_schema = database() AND lock_status = 'WAITING'",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            waiting > 0
        })
        .await;
    }
}

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    polling::until(LONG_WAIT, what, holds).await;
}
