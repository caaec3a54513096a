//! A database for each test, on the MySQL that all share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use distributed::mysql::{MySqlProjections, migrate};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use uuid::Uuid;

use crate::containers;

/// Longest wait for what must come.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A database of its own.
pub(crate) struct Database {
    server: &'static str,
    name: String,
}

impl Database {
    /// With the tables in it.
    pub(crate) async fn new() -> Self {
        let database = Self::empty().await;
        migrate(&database.url()).await.unwrap();
        database
    }

    /// Without tables.
    pub(crate) async fn empty() -> Self {
        let database = Self { server: containers::mysql().await, name: format!("test_{}", Uuid::new_v4().simple()) };
        let mut connection = database.server.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
        // The name is made up here; statements that define things take no parameters.
        let statement = AssertSqlSafe(format!("CREATE DATABASE {}", database.name));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        database
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As if it had just been made: without tables.
    pub(crate) async fn make_anew(&self) {
        let mut connection = self.server.parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap();
        for statement in ["DROP", "CREATE"] {
            let statement = AssertSqlSafe(format!("{statement} DATABASE {}", self.name));
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// HOST:PORT.
    pub(crate) fn address(&self) -> &str {
        self.server.rsplit_once('@').unwrap().1
    }

    /// The same database by another way to the server.
    pub(crate) fn url_by(&self, address: &str) -> String {
        self.url().replace(self.address(), address)
    }

    pub(crate) fn projections(&self) -> Arc<MySqlProjections> {
        Arc::new(MySqlProjections::new(&self.url()).unwrap())
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        self.url().parse::<MySqlConnectOptions>().unwrap().connect().await.unwrap()
    }

    pub(crate) async fn run(&self, statement: &'static str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// How many connections to this database there are that `what` holds for, this one not counted.
    pub(crate) async fn connections(&self, what: &'static str) -> i64 {
        let mut connection = self.connect().await;
        let count = sqlx::query_scalar(AssertSqlSafe(format!(
            // Not the process list: it fails on statements of others whose values are no text.
            "SELECT count(*) FROM performance_schema.threads \
             WHERE processlist_db = ? AND processlist_id <> connection_id() AND {what}"
        )));
        let count = count.bind(&self.name).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Waits until somebody waits for a lock of a row in this database.
    pub(crate) async fn somebody_waits_for_a_lock(&self) {
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

/// Looks again and again until it is there.
pub(crate) async fn until(what: &str, mut is_there: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG_WAIT;
    while !is_there().await {
        assert!(Instant::now() < deadline, "{what} did not come within {LONG_WAIT:?}");
        tokio::time::sleep(LOOK).await;
    }
}
