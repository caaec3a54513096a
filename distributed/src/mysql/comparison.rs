//! Compares two generations of a projection, table by table and column by column.

use read_model::{Difference, Projection};
use sqlx::{AssertSqlSafe, Executor, Row};

use super::checkpoint_tx::Generation;
use super::connections::{COMPARE_WAIT, Connections, Lease, READ_WAIT, with_timeout};

/// A table, and its columns except for the generation.
struct Table {
    name: &'static str,
    /// The columns that identify a row in its generation.
    key: &'static [&'static str],
    /// The other columns.
    values: &'static [&'static str],
    /// The columns that rows of version 1 do not have: they are NULL there. Compared where both rows have them.
    added: &'static [&'static str],
}

/// The table that a generation of an earlier version does not fill.
const FEED: &str = "feed";

const VIEWS: &[Table] = &[
    Table {
        name: "applications",
        key: &["token"],
        values: &["created_event", "name", "name_rank"],
        added: &["partition_id", "log_offset", "created_at_ms"],
    },
    Table { name: "renames", key: &["token", "event_id"], values: &[], added: &[] },
    Table {
        name: "chats",
        key: &["token", "number"],
        values: &["created_event"],
        added: &["partition_id", "log_offset", "created_at_ms"],
    },
    Table {
        name: "messages",
        key: &["token", "chat_number", "number"],
        values: &["event_id", "body"],
        added: &["log_offset", "created_at_ms", "author"],
    },
    Table {
        name: FEED,
        key: &["partition_id", "log_offset"],
        values: &["token", "chat_number", "number", "kind", "created_at_ms", "text_bytes", "name"],
        added: &[],
    },
    Table {
        name: "access_keys",
        key: &["token", "number"],
        values: &[
            "event_id",
            "partition_id",
            "log_offset",
            "created_at_ms",
            "expires_at_ms",
            "hash",
            "scopes",
            "request_values",
            "listed_number",
            "revoked_offset",
            "name",
        ],
        added: &[],
    },
    Table { name: "voided_users", key: &["token", "user_id"], values: &["partition_id", "log_offset"], added: &[] },
    Table {
        name: "dead_letters",
        key: &["partition_id", "log_offset"],
        values: &["event_id", "reason", "discarded"],
        added: &[],
    },
];

const COUNTS: &[Table] = &[
    Table {
        name: "chat_counts",
        key: &["token", "number"],
        values: &["created", "last_number", "gaps", "messages_count"],
        added: &["log_offset", "placed_count"],
    },
    Table { name: "application_counts", key: &["token"], values: &["created", "chats_count", "last_chat"], added: &[] },
    Table {
        name: "answered_requests",
        key: &["request_key", "event_id"],
        values: &[
            "request_values",
            "stream",
            "number",
            "partition_id",
            "log_offset",
            "occurred_at_ms",
            "elapsed_ms",
            "latest_ms",
        ],
        added: &[],
    },
];

/// The columns with texts. They are compared by their bytes, because the collations pass over spaces at the end of a text.
const TEXTS: &[&str] = &["name", "body", "author", "reason", "scopes", "gaps", "stream"];

const fn tables_of(projection: Projection) -> &'static [Table] {
    match projection {
        Projection::Views => VIEWS,
        Projection::Counts => COUNTS,
        Projection::Search => &[],
    }
}

/// A transaction that reads what was there when it began. A drop ends it.
pub(super) struct Snapshot(Lease);

impl Snapshot {
    pub(super) async fn begin(comparers: &Connections) -> Result<Self, sqlx::Error> {
        let begin = async {
            let mut lease = comparers.lease().await?;
            lease.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
            Ok(Self(lease))
        };
        with_timeout(READ_WAIT, begin).await
    }

    /// Lists the tables in which two generations differ.
    pub(super) async fn compare(
        mut self,
        projection: Projection,
        built: Generation,
        live: Generation,
    ) -> Result<Vec<Difference>, sqlx::Error> {
        let mut differences = Vec::new();
        let has_gap = projection == Projection::Views && self.has_gap(built, live).await?;
        for table in tables_of(projection).iter().filter(|table| !(has_gap && table.name == FEED)) {
            let missing = self.count_only_in(table, built, live).await?;
            let unexpected = self.count_only_in(table, live, built).await?;
            if missing > 0 || unexpected > 0 {
                differences.push(Difference { projection, table: table.name, missing, unexpected });
            }
        }
        self.0.execute("COMMIT").await?;
        self.0.give_back();
        Ok(differences)
    }

    /// Whether the feed of one of the two has a gap, so that there is nothing to compare it with.
    async fn has_gap(&mut self, built: Generation, live: Generation) -> Result<bool, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT count(*) FROM checkpoints WHERE projection = 'views' AND generation IN (?, ?) \
             AND NOT (fed_offset <=> next_offset)",
        );
        let statement = statement.bind(built.0).bind(live.0);
        let row = with_timeout(COMPARE_WAIT, statement.fetch_one(&mut *self.0)).await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    /// Counts the rows of `one` without an equal one in `other`.
    async fn count_only_in(&mut self, table: &Table, one: Generation, other: Generation) -> Result<u64, sqlx::Error> {
        // Its parts are constants of this module.
        let statement = sqlx::query(AssertSqlSafe(table.statement())).bind(other.0).bind(one.0);
        let row = with_timeout(COMPARE_WAIT, statement.fetch_one(&mut *self.0)).await?;
        row.try_get::<i64, _>(0).map(i64::cast_unsigned)
    }
}

impl Table {
    /// Finds the row of the other generation by its key, and compares the values, of which some may be NULL.
    fn statement(&self) -> String {
        let Self { name, key, values, added } = self;
        let mut same: Vec<_> = key.iter().map(|column| format!("other.{column} = one.{column}")).collect();
        same.extend(values.iter().map(|column| format!("{} <=> {}", of("other", column), of("one", column))));
        same.extend(
            added.iter().map(|column| format!("coalesce({} = {}, TRUE)", of("other", column), of("one", column))),
        );
        let same = same.join(" AND ");
        format!(
            "SELECT count(*) FROM {name} AS one LEFT JOIN {name} AS other ON other.generation = ? AND {same} \
             WHERE one.generation = ? AND other.generation IS NULL"
        )
    }
}

/// The value of a column of one of the two rows.
fn of(row: &str, column: &str) -> String {
    if TEXTS.contains(&column) { format!("CAST({row}.{column} AS BINARY)") } else { format!("{row}.{column}") }
}

/// The columns that are compared, with those of the generations: `TABLE.COLUMN`.
#[must_use]
pub fn compared_columns() -> Vec<String> {
    let tables = Projection::ALL.into_iter().flat_map(tables_of);
    let columns = tables.flat_map(|table| {
        let columns = ["generation"].iter().chain(table.key).chain(table.values).chain(table.added);
        columns.map(|column| format!("{}.{column}", table.name))
    });
    columns.collect()
}
