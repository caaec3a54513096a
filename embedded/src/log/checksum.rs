//! The checksum of a row of the log, which shows that its columns are those that were written.
//!
//! It is the CRC-32 of ISO 3309 over an encoding that no two rows share: a version, then for each column in the order of
//! the `SELECT` of events a type, a length where the type has one, and the value. The first [`FIRST_COLUMNS`] are always there;
//! of the later ones, which a later release has added, those at the end that are NULL are left out. So a row that an earlier
//! release wrote keeps its checksum when the table gets another column.

use crc32fast::Hasher;
use rusqlite::types::ValueRef;

/// The version of the encoding. Another encoding gets another version, so that its checksums differ.
const VERSION: u8 = 1;

/// The columns of the release that began with checksums.
const FIRST_COLUMNS: usize = 12;

pub(super) fn checksum(columns: &[ValueRef]) -> u32 {
    let last = columns.iter().rposition(|column| !matches!(column, ValueRef::Null));
    let covered = last.map_or(0, |last| last + 1).max(FIRST_COLUMNS.min(columns.len()));
    let mut hasher = Hasher::new();
    hasher.update(&[VERSION]);
    for column in &columns[..covered] {
        let column = *column;
        match column {
            ValueRef::Null => hasher.update(b"n"),
            ValueRef::Integer(integer) => {
                hasher.update(b"i");
                hasher.update(&integer.to_le_bytes());
            }
            ValueRef::Real(real) => {
                hasher.update(b"r");
                hasher.update(&real.to_le_bytes());
            }
            ValueRef::Text(text) => update_bytes(&mut hasher, b"t", text),
            ValueRef::Blob(blob) => update_bytes(&mut hasher, b"b", blob),
        }
    }
    hasher.finalize()
}

fn update_bytes(hasher: &mut Hasher, kind: &[u8], bytes: &[u8]) {
    hasher.update(kind);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_stored_rows_never_changes() {
        let row = [ValueRef::Integer(7), ValueRef::Text(b"stream"), ValueRef::Null, ValueRef::Blob(b"data")];
        assert_eq!(checksum(&row), 0x8adc_02e2);
    }

    #[test]
    fn bytes_that_move_to_another_column_change_the_checksum() {
        let texts = |one, other| checksum(&[ValueRef::Text(one), ValueRef::Text(other)]);
        assert_ne!(texts(b"ab", b"c"), texts(b"a", b"bc"));
        assert_ne!(checksum(&[ValueRef::Null]), texts(b"", b""));
        assert_ne!(checksum(&[ValueRef::Text(b"a")]), checksum(&[ValueRef::Blob(b"a")]));
    }

    #[test]
    fn a_column_that_a_later_release_adds_counts_where_it_is_not_null() {
        let row = [ValueRef::Null; FIRST_COLUMNS];
        let with = |added: &[ValueRef<'static>]| checksum(&[&row, added].concat());
        assert_eq!(with(&[]), with(&[ValueRef::Null]));
        assert_ne!(with(&[]), with(&[ValueRef::Text(b"root")]));
        assert_eq!(with(&[ValueRef::Text(b"root")]), with(&[ValueRef::Text(b"root"), ValueRef::Null]));
        assert_ne!(with(&[ValueRef::Text(b"root")]), with(&[ValueRef::Null, ValueRef::Text(b"root")]));
        assert_ne!(checksum(&row[1..]), checksum(&row), "a first column counts even if it is NULL");
    }
}
