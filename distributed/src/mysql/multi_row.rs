//! Statements that write or read many rows.

use sqlx::mysql::{MySql, MySqlRow};
use sqlx::query_builder::Separated;
use sqlx::{MySqlConnection, QueryBuilder};

/// Each statement has one of these numbers of rows, so that few statements need to be prepared. All of them stay far
/// below MySQL's bound of 65,535 values for a statement.
const ROWS_PER_STATEMENT: [usize; 4] = [128, 16, 4, 1];
/// The smallest max_allowed_packet that Tally works with; MySQL's default is four times as large.
pub(super) const SMALLEST_PACKET_BYTES: u64 = 16 * 1024 * 1024;
/// The most text of one statement. It leaves space for the other values below [`SMALLEST_PACKET_BYTES`], and 128
/// messages of the greatest length fit into it.
const MAX_TEXT_BYTES: usize = 12 * 1024 * 1024;

/// Writes rows with `head VALUES (…), (…) tail`. Sends no statement if there are no rows.
pub(super) async fn insert_rows<R>(
    connection: &mut MySqlConnection,
    head: &'static str,
    tail: &'static str,
    mut rows: &[R],
    bind: impl Fn(&mut Separated<'_, MySql, &'static str>, &R),
) -> Result<(), sqlx::Error> {
    for size in ROWS_PER_STATEMENT {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            let mut statement = QueryBuilder::<MySql>::new(head);
            statement.push_values(chunk, |mut row, values| bind(&mut row, values));
            statement.push(tail).build().execute(&mut *connection).await?;
            rows = rest;
        }
    }
    Ok(())
}

/// Selects the rows of `keys`, in no order, with `head ((…), (…))`; `head` ends with a list of columns and `IN`.
pub(super) async fn select_in<K>(
    connection: &mut MySqlConnection,
    head: &'static str,
    mut keys: &[K],
    bind: impl Fn(&mut Separated<'_, MySql, &'static str>, &K),
) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let mut rows = Vec::new();
    for size in ROWS_PER_STATEMENT {
        while let Some((chunk, rest)) = keys.split_at_checked(size) {
            let mut statement = QueryBuilder::<MySql>::new(head);
            statement.push_tuples(chunk, |mut tuple, key| bind(&mut tuple, key));
            rows.extend(statement.build().fetch_all(&mut *connection).await?);
            keys = rest;
        }
    }
    Ok(rows)
}

/// Splits rows into runs of at most [`MAX_TEXT_BYTES`] of text. A row with more text is a run of its own.
pub(super) fn split_by_text<R>(mut rows: &[R], text_bytes: impl Fn(&R) -> usize) -> Vec<&[R]> {
    let mut runs = Vec::new();
    while !rows.is_empty() {
        let mut bytes = 0_usize;
        let fitting = rows.iter().take_while(|row| {
            bytes = bytes.saturating_add(text_bytes(row));
            bytes <= MAX_TEXT_BYTES
        });
        let (run, rest) = rows.split_at(fitting.count().max(1));
        runs.push(run);
        rows = rest;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_as_much_text_as_a_statement_takes() {
        const HALF: usize = MAX_TEXT_BYTES / 2;
        let cut =
            |rows: &[usize]| split_by_text(rows, |bytes| *bytes).into_iter().map(<[usize]>::len).collect::<Vec<_>>();
        assert_eq!(cut(&[]), [0_usize; 0]);
        assert_eq!(cut(&[HALF, HALF, 0, 1, HALF]), [3, 2]);
        assert_eq!(cut(&[1, 3 * HALF, 1, usize::MAX, usize::MAX]), [1, 1, 1, 1, 1]);
        assert_eq!(cut(&[64 * 1024; 128]), [128], "the longest messages");
    }
}
