//! Checks the whole log: every record, and the tables that are made from the records.

use std::collections::BTreeMap;

use event_log::{KeyClock, ReadLimit, Unreadable};
use events::{Offset, RecordedEvent, RequestKey};
use rusqlite::{Connection, Params, Result, Transaction, TransactionBehavior, params};

use super::counters::list_counters;
use super::read_end;
use super::rows::read_rows;

/// The most damaged records that a report names. Further ones are only counted.
const MAX_NAMED: usize = 20;

/// The log could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("the event log cannot be read to its end; if it is damaged, restore the data directory from a copy")]
pub struct CheckError(#[source] pub(super) rusqlite::Error);

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReport {
    /// Records that are damaged or missing.
    pub damaged: u64,
    /// The first of them.
    pub first_damaged: Vec<Unreadable>,
    /// Records of releases without checksums. A change of such a record is not noticed.
    pub without_checksum: u64,
    /// Rows of tables that contradict the records.
    pub contradictions: Vec<Contradiction>,
}

/// Rows of a table of the log that contradict its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The table.
    pub table: &'static str,
    /// How the rows contradict the records, in words that follow a number of rows.
    pub what: &'static str,
    /// How many rows.
    pub rows: u64,
}

impl LogReport {
    /// Whether every record is as it was written, and every table is what the records make of it.
    pub const fn is_good(&self) -> bool {
        self.damaged == 0 && self.contradictions.is_empty()
    }

    /// Whether only tables contradict the records that can be made again from them.
    pub fn can_be_remade(&self) -> bool {
        let is_remade = |contradiction: &Contradiction| REMADE.contains(&contradiction.table);
        self.damaged == 0 && !self.contradictions.is_empty() && self.contradictions.iter().all(is_remade)
    }

    fn apply(&mut self, Rule { table, what, .. }: Rule, rows: u64) {
        if rows > 0 {
            self.contradictions.push(Contradiction { table, what, rows });
        }
    }
}

/// Tables in a file that SQLite deletes, so that a log of any size can be checked.
const RECOMPUTED_TABLES: &str = "
    CREATE TABLE temp.log_counters (parent TEXT PRIMARY KEY, last_number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE temp.log_requests
        (request_key BLOB PRIMARY KEY, log_offset INTEGER NOT NULL, elapsed_ms INTEGER NOT NULL, latest_ms INTEGER NOT NULL)
        STRICT, WITHOUT ROWID;";

/// A contradiction, and the query that counts its rows.
#[derive(Clone, Copy)]
struct Rule {
    table: &'static str,
    what: &'static str,
    count: &'static str,
}

/// The tables beside the records, which tell the sequencer numbers and requests without reading the log.
const RULES: [Rule; 6] = [
    Rule {
        table: "counters",
        what: "below the last number in the log, so that a number could be given twice",
        count: "SELECT count(*) FROM temp.log_counters JOIN main.counters AS stored USING (parent) \
                WHERE stored.last_number < log_counters.last_number",
    },
    Rule {
        table: "counters",
        what: "missing for an application or a chat that the log has",
        count: "SELECT count(*) FROM temp.log_counters WHERE parent NOT IN (SELECT parent FROM main.counters)",
    },
    Rule {
        table: "requests",
        what: "leading to another record than that of its key",
        count: "SELECT count(*) FROM temp.log_requests JOIN main.requests AS stored USING (request_key) \
                WHERE stored.log_offset <> log_requests.log_offset",
    },
    Rule {
        table: "identity",
        what: "missing or too many: it says which log this is",
        count: "SELECT abs(count(*) - 1) FROM main.identity",
    },
    Rule {
        table: "checksums",
        what: "missing or too many: it says from which record on every record must have a checksum",
        count: "SELECT abs(count(*) - 1) FROM main.checksums",
    },
    Rule {
        table: "checksums",
        what: "beyond the first record with a checksum, so that records could lose theirs unnoticed",
        count: "SELECT count(*) FROM main.checksums WHERE first_offset > \
                (SELECT min(log_offset) FROM main.events WHERE checksum IS NOT NULL)",
    },
];

/// Rules that a damaged record would seem to break, because nobody knows which number and key it has, and when it was written.
const RULES_OF_AN_UNDAMAGED_LOG: [Rule; 4] = [
    Rule {
        table: "counters",
        what: "above the last number in the log",
        count: "SELECT count(*) FROM temp.log_counters JOIN main.counters AS stored USING (parent) \
                WHERE stored.last_number > log_counters.last_number",
    },
    Rule {
        table: "counters",
        what: "of an application or a chat that the log does not have",
        count: "SELECT count(*) FROM main.counters WHERE parent NOT IN (SELECT parent FROM temp.log_counters)",
    },
    Rule {
        table: "requests",
        what: "of a key that the log does not have",
        count: "SELECT count(*) FROM main.requests WHERE request_key NOT IN (SELECT request_key FROM temp.log_requests)",
    },
    Rule {
        table: "requests",
        what: "with another age than the log gives their keys",
        count: "SELECT count(*) FROM temp.log_requests JOIN main.requests AS stored USING (request_key) \
                WHERE stored.elapsed_ms <> log_requests.elapsed_ms OR stored.latest_ms <> log_requests.latest_ms",
    },
];

/// A rule of an undamaged log, too. Its parameter is the age of the keys that are forgotten.
const NO_KEY_IS_MISSING: Rule = Rule {
    table: "requests",
    what: "missing for a key that must be remembered, so that a retry could be carried out twice",
    count: "SELECT count(*) FROM temp.log_requests WHERE elapsed_ms >= ?1 \
            AND request_key NOT IN (SELECT request_key FROM main.requests)",
};

/// The tables that [`remake`] makes again.
const REMADE: [&str; 2] = ["counters", "requests"];

/// Checks the records before `end`. Calls `on_progress` with the offset that it has reached.
pub(super) fn check(connection: &mut Connection, on_progress: impl Fn(Offset)) -> Result<LogReport> {
    let transaction = connection.transaction()?;
    let (report, _) = compare(&transaction, on_progress)?;
    transaction.rollback()?;
    Ok(report)
}

/// Checks the records. Makes the counters and the requests again from the records, if they contradict them and no
/// record is damaged. Returns what was wrong before.
pub(super) fn remake(connection: &mut Connection, on_progress: impl Fn(Offset)) -> Result<LogReport> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (report, clock) = compare(&transaction, on_progress)?;
    if !report.can_be_remade() {
        transaction.rollback()?;
        return Ok(report);
    }
    transaction.execute_batch(
        "DELETE FROM main.counters;
         INSERT INTO main.counters (parent, last_number) SELECT parent, last_number FROM temp.log_counters;
         DELETE FROM main.requests;",
    )?;
    transaction.execute(
        "INSERT INTO main.requests (request_key, log_offset, elapsed_ms, latest_ms) \
         SELECT request_key, log_offset, elapsed_ms, latest_ms FROM temp.log_requests WHERE elapsed_ms >= ?",
        [clock.forgotten_before_ms().cast_signed()],
    )?;
    transaction.commit()?;
    Ok(report)
}

/// Recomputes the tables beside the records, and compares. Returns the clock of keys at the end, too.
fn compare(transaction: &Transaction, on_progress: impl Fn(Offset)) -> Result<(LogReport, KeyClock)> {
    transaction.execute_batch(RECOMPUTED_TABLES)?;
    // Read in the transaction, so that the records before it and the tables are of one moment.
    let end = read_end(transaction)?;
    let mut report = LogReport::default();
    let mut clock = KeyClock::default();
    let mut next = Offset::START;
    while next < end {
        let log_batch = read_rows(transaction, next, end, ReadLimit::STRETCH.records)?;
        recompute(transaction, &log_batch.events, &mut clock)?;
        report.damaged += log_batch.unreadable.len() as u64;
        let unnamed = MAX_NAMED - report.first_damaged.len();
        report.first_damaged.extend(log_batch.unreadable.into_iter().take(unnamed));
        next = log_batch.next;
        on_progress(next);
    }
    report.without_checksum = count_rows(
        transaction,
        "SELECT count(*) FROM main.events WHERE checksum IS NULL \
         AND log_offset < (SELECT first_offset FROM main.checksums)",
        (),
    )?;
    for rule in RULES {
        report.apply(rule, count_rows(transaction, rule.count, ())?);
    }
    if report.damaged == 0 {
        for rule in RULES_OF_AN_UNDAMAGED_LOG {
            report.apply(rule, count_rows(transaction, rule.count, ())?);
        }
        let forgotten_before_ms = clock.forgotten_before_ms().cast_signed();
        let missing = count_rows(transaction, NO_KEY_IS_MISSING.count, [forgotten_before_ms])?;
        report.apply(NO_KEY_IS_MISSING, missing);
    }
    Ok((report, clock))
}

/// Adds undamaged records to the tables that are recomputed.
fn recompute(transaction: &Transaction, events: &[RecordedEvent], clock: &mut KeyClock) -> Result<()> {
    let mut counter = transaction.prepare_cached(
        "INSERT INTO temp.log_counters (parent, last_number) VALUES (?, ?) \
         ON CONFLICT (parent) DO UPDATE SET last_number = max(last_number, excluded.last_number)",
    )?;
    let mut request = transaction.prepare_cached(
        "INSERT OR REPLACE INTO temp.log_requests (request_key, log_offset, elapsed_ms, latest_ms) VALUES (?, ?, ?, ?)",
    )?;
    let mut counters = BTreeMap::new();
    for RecordedEvent { offset, record, .. } in events {
        for (parent, last_number) in list_counters(record) {
            let highest = counters.entry(parent).or_insert(last_number);
            *highest = last_number.max(*highest);
        }
        if let Some(RequestKey { key, .. }) = record.request {
            *clock = clock.advance(record.occurred_at);
            let (elapsed_ms, latest_ms) = (clock.elapsed_ms.cast_signed(), clock.latest.0.cast_signed());
            request.execute(params![key, offset.0.cast_signed(), elapsed_ms, latest_ms])?;
        }
    }
    for (parent, last_number) in counters {
        counter.execute((parent.to_text(), last_number))?;
    }
    Ok(())
}

fn count_rows(connection: &Connection, sql: &'static str, parameters: impl Params) -> Result<u64> {
    connection.query_row(sql, parameters, |row| row.get(0)).map(i64::cast_unsigned)
}
