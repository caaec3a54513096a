//! Compares two files of projections row by row, by natural keys and not by row ids.

use std::path::{Path, PathBuf};

use read_model::Projection;
use rusqlite::{Connection, Result};

use crate::sqlite::{Database, Durability, run_blocking};

/// The difference between the rows of one table in two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The projection.
    pub projection: Projection,
    /// The table.
    pub table: &'static str,
    /// Rows that only the reference has.
    pub missing: u64,
    /// Rows that the reference does not have.
    pub unexpected: u64,
}

/// Two files could not be compared.
#[derive(Debug, thiserror::Error)]
#[error("the rows of {} cannot be compared", .path.display())]
pub struct CompareError {
    path: PathBuf,
    #[source]
    source: rusqlite::Error,
}

/// The queries that count the differences of one table.
struct Comparison {
    projection: Projection,
    table: &'static str,
    missing: &'static str,
    unexpected: &'static str,
}

/// A [`Comparison`] of the rows of two queries: one on the compared file, one on the reference.
macro_rules! comparison {
    ($projection:ident $table:literal: $compared:literal, $reference:literal) => {
        Comparison {
            projection: Projection::$projection,
            table: $table,
            missing: concat!("SELECT count(*) FROM (", $reference, " EXCEPT ", $compared, ")"),
            unexpected: concat!("SELECT count(*) FROM (", $compared, " EXCEPT ", $reference, ")"),
        }
    };
}

const COMPARISONS: [Comparison; 9] = [
    comparison!(Views "applications": "SELECT * FROM main.applications", "SELECT * FROM reference.applications"),
    comparison!(Views "renames": "SELECT * FROM main.renames", "SELECT * FROM reference.renames"),
    comparison!(Views "chats":
        "SELECT token, number, created_event FROM main.chats",
        "SELECT token, number, created_event FROM reference.chats"),
    comparison!(Views "messages":
        "SELECT token, number, id & 4294967295, event_id, body FROM main.messages LEFT JOIN main.chats ON ordinal = id >> 32",
        "SELECT token, number, id & 4294967295, event_id, body FROM reference.messages LEFT JOIN reference.chats ON ordinal = id >> 32"),
    comparison!(Views "dead_letters": "SELECT * FROM main.dead_letters", "SELECT * FROM reference.dead_letters"),
    comparison!(Counts "chat_counts": "SELECT * FROM main.chat_counts", "SELECT * FROM reference.chat_counts"),
    comparison!(Counts "application_counts":
        "SELECT * FROM main.application_counts", "SELECT * FROM reference.application_counts"),
    comparison!(Search "search_extents":
        "SELECT token, number, part FROM main.search_extents", "SELECT token, number, part FROM reference.search_extents"),
    // In how many documents each trigram occurs; without those that contain the separator of texts.
    comparison!(Search "search_trigrams":
        "SELECT term, doc FROM temp.trigrams_compared WHERE instr(term, char(1114109)) = 0",
        "SELECT term, doc FROM temp.trigrams_reference WHERE instr(term, char(1114109)) = 0"),
];

/// Lists the tables of `compared` that differ from `reference`.
///
/// # Errors
/// SQLite's error, for example if a file is damaged.
pub async fn differences(compared: &Path, reference: &Path) -> Result<Vec<Difference>, CompareError> {
    let (path, reference) = (compared.to_owned(), reference.to_owned());
    let differences = run_blocking(move || compare(&path, &reference)).await;
    differences.map_err(|source| CompareError { path: compared.to_owned(), source })
}

fn compare(compared: &Path, reference: &Path) -> Result<Vec<Difference>> {
    let connection = Database::new(compared, Durability::Crash).connect()?;
    connection.execute("ATTACH DATABASE ? AS reference", [reference.to_string_lossy()])?;
    for trigrams in [
        "CREATE VIRTUAL TABLE temp.trigrams_compared USING fts5vocab (main, search_trigrams, row)",
        "CREATE VIRTUAL TABLE temp.trigrams_reference USING fts5vocab (reference, search_trigrams, row)",
    ] {
        connection.execute(trigrams, ())?;
    }
    let mut differences = Vec::new();
    for Comparison { projection, table, missing, unexpected } in COMPARISONS {
        let missing = count(&connection, missing)?;
        let unexpected = count(&connection, unexpected)?;
        if missing > 0 || unexpected > 0 {
            differences.push(Difference { projection, table, missing, unexpected });
        }
    }
    Ok(differences)
}

fn count(connection: &Connection, sql: &'static str) -> Result<u64> {
    connection.query_row(sql, (), |row| row.get(0)).map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use crate::projections::SEPARATOR;

    #[test]
    fn the_comparison_of_trigrams_names_the_separator_of_texts() {
        assert_eq!(u32::from(SEPARATOR), 1_114_109);
    }
}
