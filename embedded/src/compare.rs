//! Comparing two files of projections row by row, by what their rows are and not by how they are stored.

use std::path::{Path, PathBuf};

use read_model::Projection;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// How many rows of a projection are in one file only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Which projection.
    pub projection: Projection,
    /// Which of its tables.
    pub table: &'static str,
    /// Rows that should be there and are not.
    pub missing: u64,
    /// Rows that are there and should not.
    pub unexpected: u64,
}

/// Two files could not be compared.
#[derive(Debug, thiserror::Error)]
#[error("the rows of {} cannot be compared", .path.display())]
pub struct CompareError {
    path: PathBuf,
    #[source]
    source: sqlx::Error,
}

/// A table's rows under natural keys, once in the file that is compared and once in the one it should be like.
struct Comparison {
    projection: Projection,
    table: &'static str,
    missing: &'static str,
    unexpected: &'static str,
}

macro_rules! compared {
    ($projection:ident $table:literal: $here:literal, $there:literal) => {
        Comparison {
            projection: Projection::$projection,
            table: $table,
            missing: concat!("SELECT count(*) FROM (", $there, " EXCEPT ", $here, ")"),
            unexpected: concat!("SELECT count(*) FROM (", $here, " EXCEPT ", $there, ")"),
        }
    };
}

const COMPARISONS: [Comparison; 9] = [
    compared!(Views "applications": "SELECT * FROM main.applications", "SELECT * FROM reference.applications"),
    compared!(Views "renames": "SELECT * FROM main.renames", "SELECT * FROM reference.renames"),
    compared!(Views "chats":
        "SELECT token, number, created_event FROM main.chats",
        "SELECT token, number, created_event FROM reference.chats"),
    compared!(Views "messages":
        "SELECT token, number, id & 4294967295, event_id, body FROM main.messages JOIN main.chats ON ordinal = id >> 32",
        "SELECT token, number, id & 4294967295, event_id, body FROM reference.messages JOIN reference.chats ON ordinal = id >> 32"),
    compared!(Views "dead_letters": "SELECT * FROM main.dead_letters", "SELECT * FROM reference.dead_letters"),
    compared!(Counts "chat_counts": "SELECT * FROM main.chat_counts", "SELECT * FROM reference.chat_counts"),
    compared!(Counts "application_counts":
        "SELECT * FROM main.application_counts", "SELECT * FROM reference.application_counts"),
    compared!(Search "search_messages":
        "SELECT token, number, id & 4294967295, body, folded FROM main.search_messages JOIN main.search_chats ON ordinal = id >> 32",
        "SELECT token, number, id & 4294967295, body, folded FROM reference.search_messages JOIN reference.search_chats ON ordinal = id >> 32"),
    // Row ids differ from one rebuild to the next, so it is compared in how many texts, and how often, each trigram is.
    compared!(Search "search_trigrams": "SELECT * FROM temp.trigrams_here", "SELECT * FROM temp.trigrams_there"),
];

/// Where `compared` differs from `reference`, table by table; tables that are alike are left out.
///
/// # Errors
/// What SQLite says, such as that one of the files is damaged.
pub async fn differences(compared: &Path, reference: &Path) -> Result<Vec<Difference>, CompareError> {
    let found = compare(compared, reference).await;
    found.map_err(|source| CompareError { path: compared.to_owned(), source })
}

async fn compare(compared: &Path, reference: &Path) -> Result<Vec<Difference>, sqlx::Error> {
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(compared)).await?;
    sqlx::query("ATTACH DATABASE ? AS reference")
        .bind(reference.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await?;
    for trigrams in [
        "CREATE VIRTUAL TABLE temp.trigrams_here USING fts5vocab (main, search_trigrams, row)",
        "CREATE VIRTUAL TABLE temp.trigrams_there USING fts5vocab (reference, search_trigrams, row)",
    ] {
        sqlx::query(trigrams).execute(&mut connection).await?;
    }
    let mut differences = Vec::new();
    for Comparison { projection, table, missing, unexpected } in COMPARISONS {
        let missing = count(&mut connection, missing).await?;
        let unexpected = count(&mut connection, unexpected).await?;
        if missing > 0 || unexpected > 0 {
            differences.push(Difference { projection, table, missing, unexpected });
        }
    }
    connection.close().await?;
    Ok(differences)
}

async fn count(connection: &mut SqliteConnection, sql: &'static str) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(count.cast_unsigned())
}
