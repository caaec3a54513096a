//! Compares two generations of a projection row by row, by natural keys and not by row ids.

use std::path::{Path, PathBuf};

use read_model::{Difference, FIRST_VERSION_WITH_FEED, Projection};
use rusqlite::{Connection, Result};

use crate::sqlite::{Database, Durability, run_blocking};

/// The tables that a generation of `views` of an earlier version has none of, or nothing in.
const FEED: &[&str] = &["feed", "feed_names", "feed_blocks"];
/// Whether both generations have a feed.
const HAVE_FEEDS: &str = "SELECT (SELECT version FROM main.views_version) >= ?1 \
                          AND (SELECT version FROM reference.views_version) >= ?1";

/// The queries that count the differences of one table.
struct TableComparison {
    table: &'static str,
    missing: &'static str,
    unexpected: &'static str,
}

/// A [`TableComparison`] of the rows of two queries: one on the compared database, one on the reference.
macro_rules! comparison {
    ($table:literal: $compared:literal, $reference:literal) => {
        TableComparison {
            table: $table,
            missing: concat!("SELECT count(*) FROM (", $reference, " EXCEPT ", $compared, ")"),
            unexpected: concat!("SELECT count(*) FROM (", $compared, " EXCEPT ", $reference, ")"),
        }
    };
}

const VIEWS: &[TableComparison] = &[
    comparison!("applications": "SELECT * FROM main.applications", "SELECT * FROM reference.applications"),
    comparison!("renames": "SELECT * FROM main.renames", "SELECT * FROM reference.renames"),
    comparison!("chats":
        "SELECT token, number, created_event, partition, log_offset, created_at_ms FROM main.chats",
        "SELECT token, number, created_event, partition, log_offset, created_at_ms FROM reference.chats"),
    comparison!("messages":
        "SELECT token, number, id & 4294967295, event_id, m.log_offset, m.created_at_ms, author, body \
         FROM main.messages AS m LEFT JOIN main.chats ON ordinal = id >> 32",
        "SELECT token, number, id & 4294967295, event_id, m.log_offset, m.created_at_ms, author, body \
         FROM reference.messages AS m LEFT JOIN reference.chats ON ordinal = id >> 32"),
    comparison!("feed":
        "SELECT place, a.token, c.number, f.number FROM main.feed AS f \
         LEFT JOIN main.feed_applications AS a ON a.ordinal = application LEFT JOIN main.chats AS c ON c.ordinal = chat",
        "SELECT place, a.token, c.number, f.number FROM reference.feed AS f \
         LEFT JOIN reference.feed_applications AS a ON a.ordinal = application \
         LEFT JOIN reference.chats AS c ON c.ordinal = chat"),
    comparison!("feed_names": "SELECT * FROM main.feed_names", "SELECT * FROM reference.feed_names"),
    // The streams of an application have negative numbers: an even one for all of its events, an odd one for its own.
    comparison!("feed_blocks":
        "SELECT block, a.token, stream < 0 AND stream & 1, c.token, c.number FROM main.feed_blocks \
         LEFT JOIN main.feed_applications AS a ON a.ordinal = -stream / 2 AND stream < 0 \
         LEFT JOIN main.chats AS c ON c.ordinal = stream",
        "SELECT block, a.token, stream < 0 AND stream & 1, c.token, c.number FROM reference.feed_blocks \
         LEFT JOIN reference.feed_applications AS a ON a.ordinal = -stream / 2 AND stream < 0 \
         LEFT JOIN reference.chats AS c ON c.ordinal = stream"),
    comparison!("access_keys": "SELECT * FROM main.access_keys", "SELECT * FROM reference.access_keys"),
    comparison!("voided_users": "SELECT * FROM main.voided_users", "SELECT * FROM reference.voided_users"),
    comparison!("dead_letters": "SELECT * FROM main.dead_letters", "SELECT * FROM reference.dead_letters"),
];

const COUNTS: &[TableComparison] = &[
    comparison!("chat_counts": "SELECT * FROM main.chat_counts", "SELECT * FROM reference.chat_counts"),
    comparison!("application_counts":
        "SELECT * FROM main.application_counts", "SELECT * FROM reference.application_counts"),
];

const SEARCH: &[TableComparison] = &[
    comparison!("search_extents":
        "SELECT token, number, part FROM main.search_extents", "SELECT token, number, part FROM reference.search_extents"),
    // In how many documents each trigram occurs; without those that contain the separator of texts.
    comparison!("search_trigrams":
        "SELECT term, doc FROM temp.trigrams_compared WHERE instr(term, char(1114109)) = 0",
        "SELECT term, doc FROM temp.trigrams_reference WHERE instr(term, char(1114109)) = 0"),
];

const fn comparisons(projection: Projection) -> &'static [TableComparison] {
    match projection {
        Projection::Views => VIEWS,
        Projection::Counts => COUNTS,
        Projection::Search => SEARCH,
    }
}

/// A comparison of two databases in the state in which they were when it began.
pub(crate) struct Comparison {
    projection: Projection,
    connection: Connection,
}

impl Comparison {
    /// Begins to compare the database `compared` with `reference`.
    pub(crate) async fn begin(projection: Projection, compared: &Path, reference: &Path) -> Result<Self> {
        let (compared, reference) = (compared.to_owned(), reference.to_owned());
        run_blocking(move || Self::connect(projection, compared, reference)).await
    }

    fn connect(projection: Projection, compared: PathBuf, reference: PathBuf) -> Result<Self> {
        let connection =
            Database::new(compared, Durability::Crash).attach([("reference", reference)]).connect_to_existing()?;
        if projection == Projection::Search {
            for trigrams in [
                "CREATE VIRTUAL TABLE temp.trigrams_compared USING fts5vocab (main, search_trigrams, row)",
                "CREATE VIRTUAL TABLE temp.trigrams_reference USING fts5vocab (reference, search_trigrams, row)",
            ] {
                connection.execute(trigrams, ())?;
            }
        }
        connection.execute("BEGIN", ())?;
        // A transaction sees a database as it is at the first read.
        for database in ["SELECT count(*) FROM main.checkpoints", "SELECT count(*) FROM reference.checkpoints"] {
            count(&connection, database)?;
        }
        Ok(Self { projection, connection })
    }

    /// Lists the tables that differ.
    pub(crate) async fn run(self) -> Result<Vec<Difference>> {
        run_blocking(move || self.compare_tables()).await
    }

    fn compare_tables(&self) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        let has_feeds = self.projection == Projection::Views && have_feeds(&self.connection)?;
        let compared = comparisons(self.projection).iter().filter(|one| has_feeds || !FEED.contains(&one.table));
        for TableComparison { table, missing, unexpected } in compared {
            let (missing, unexpected) = (count(&self.connection, missing)?, count(&self.connection, unexpected)?);
            if missing > 0 || unexpected > 0 {
                differences.push(Difference { projection: self.projection, table, missing, unexpected });
            }
        }
        Ok(differences)
    }
}

fn have_feeds(connection: &Connection) -> Result<bool> {
    connection.query_row(HAVE_FEEDS, [FIRST_VERSION_WITH_FEED], |row| row.get(0))
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
