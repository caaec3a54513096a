//! The plans of all statements that the adapters run: none scans a table, and none sorts rows.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rusqlite::Connection;

use self::databases::Databases;

#[path = "../tests/databases/mod.rs"]
mod databases;

/// The lines of each statement's plan.
static PLANS: Mutex<BTreeMap<&str, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Parts of a line that say that the cost grows with the table, or with the rows that are found.
/// See <https://www.sqlite.org/eqp.html>.
const COSTLY: [&str; 2] = ["SCAN ", "USE TEMP B-TREE"];
/// Lines that begin with a costly word, but read only what the statement asks for.
const CHEAP: [&str; 6] = [
    "SCAN CONSTANT ROW",
    "SCAN search_trigrams VIRTUAL TABLE",
    "SCAN checksums",   // It has one row.
    "SCAN checkpoints", // It has a row for each partition.
    "SCAN main.checkpoints",
    "SCAN counts.checkpoints",
];

/// Remembers the plan of a statement.
pub(crate) fn record(connection: &Connection, sql: &'static str) {
    let mut plans = PLANS.lock();
    if plans.contains_key(sql) {
        return;
    }
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement that is prepared");
    // `raw_query` runs a statement without its parameters.
    let lines = statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<_, _>>().expect("a plan");
    plans.insert(sql, lines);
}

fn is_costly(line: &str) -> bool {
    COSTLY.iter().any(|part| line.contains(part)) && !CHEAP.iter().any(|part| line.starts_with(part))
}

/// Runs each check of a suite on its own databases.
macro_rules! run_checks {
    (; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {{
        use $suite as suite;
        $({
            let databases = Databases::open().await;
            suite::$check($(databases.$part()),+).await;
        })+
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_scans_a_table_or_sorts_rows() {
    event_log::log_conformance!(run_checks);
    event_log::import_conformance!(run_checks);
    event_log::sequencer_conformance!(run_checks);
    read_model::store_conformance!(run_checks);
    read_model::views_conformance!(run_checks);
    read_model::access_conformance!(run_checks);
    read_model::feed_conformance!(run_checks);
    read_model::search_conformance!(run_checks);
    read_model::generations_conformance!(run_checks);
    read_model::operating_conformance!(run_checks);
    read_model::search_operating_conformance!(run_checks);
    let plans = PLANS.lock();
    assert!(plans.keys().any(|sql| sql.contains("MATCH")), "the checks ran the statements: {:?}", plans.keys());
    for (sql, lines) in &*plans {
        assert!(!lines.iter().any(|line| is_costly(line)), "{sql}\n{lines:#?}");
    }
}
