//! Where the messages of a chat are in the index of trigrams.
//!
//! A *document* of the index is the texts of [`MESSAGES_PER_DOCUMENT`] consecutive numbers of a chat. Documents of one chat
//! should have row ids close to each other, because FTS5 stores differences of row ids. So a chat gets row ids in *extents*:
//! an extent reserves the row ids of one *part* of the chat's numbers. Part 0 has [`FIRST_PART`] numbers. Each next part
//! doubles the total, until parts have [`LARGEST_PART`] numbers. So a small chat wastes little, and a large one has few.

use std::ops::Range;

use events::{ChatKey, MessageNumber};
use rusqlite::{Connection, OptionalExtension, Result, Row};

use crate::sqlite::prepare;

/// Consecutive numbers of a chat that share a document.
pub(super) const MESSAGES_PER_DOCUMENT: u32 = 8;
/// The first part has the numbers below this one.
const FIRST_PART: u32 = 256;
/// Most numbers of a part, so that a large chat with few messages in its last part wastes few row ids.
const LARGEST_PART: u32 = 32_768;
/// The parts below this one double in size.
const DOUBLING_PARTS: u32 = LARGEST_PART.ilog2() - FIRST_PART.ilog2() + 1;

/// The row id of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DocumentId(pub i64);

/// A part of a chat's numbers: 0, 1, 2 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Part(u32);

impl Part {
    pub(super) fn of(number: MessageNumber) -> Self {
        match number.get() {
            below if below < FIRST_PART => Self(0),
            doubling if doubling < LARGEST_PART => Self(doubling.ilog2() - FIRST_PART.ilog2() + 1),
            number => Self(number / LARGEST_PART - 1 + DOUBLING_PARTS),
        }
    }

    /// The numbers of the part. Part 0 begins with 0, which no message has.
    pub(super) fn numbers(self) -> Range<i64> {
        match self.0 {
            0 => 0..FIRST_PART.into(),
            part if part < DOUBLING_PARTS => i64::from(FIRST_PART) << (part - 1)..i64::from(FIRST_PART) << part,
            part => {
                let first = i64::from(part - DOUBLING_PARTS + 1) * i64::from(LARGEST_PART);
                first..first + i64::from(LARGEST_PART)
            }
        }
    }

    fn documents(self) -> i64 {
        let numbers = self.numbers();
        (numbers.end - numbers.start) / i64::from(MESSAGES_PER_DOCUMENT)
    }
}

/// The row ids that are reserved for one part of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    id: i64,
    /// The same in all extents of a chat: the id of its first one.
    chat_id: i64,
    part: Part,
    first_document: i64,
}

impl Extent {
    /// Finds the extent of a chat's part, or reserves row ids behind all others.
    pub(super) fn find_or_create(connection: &Connection, chat: ChatKey, part: Part) -> Result<Self> {
        let mut select = prepare(
            connection,
            "SELECT id, chat_id, part, first_document FROM search_extents WHERE token = ? AND number = ? AND part = ?",
        )?;
        let key = (chat.token.as_bytes(), chat.number.get(), part.0);
        if let Some(found) = select.query_row(key, Self::decode).optional()? {
            return Ok(found);
        }
        Self::create(connection, chat, part)
    }

    fn create(connection: &Connection, chat: ChatKey, part: Part) -> Result<Self> {
        let mut last = prepare(
            connection,
            "SELECT id, chat_id, part, first_document FROM search_extents \
             WHERE id = (SELECT max(id) FROM search_extents)",
        )?;
        let last = last.query_row((), Self::decode).optional()?;
        let (id, first_document) =
            last.map_or((1, 0), |last| (last.id + 1, last.first_document + last.part.documents()));
        let mut chat_id =
            prepare(connection, "SELECT chat_id FROM search_extents WHERE token = ? AND number = ? LIMIT 1")?;
        let chat_id = chat_id.query_row((chat.token.as_bytes(), chat.number.get()), |row| row.get(0)).optional()?;
        let chat_id = chat_id.unwrap_or(id);
        let mut insert = prepare(
            connection,
            "INSERT INTO search_extents (id, chat_id, token, number, part, first_document) VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        insert.execute((id, chat_id, chat.token.as_bytes(), chat.number.get(), part.0, first_document))?;
        Ok(Self { id, chat_id, part, first_document })
    }

    /// Loads at most `limit` extents of a chat from this part on, in the order of a page.
    pub(super) fn list(
        connection: &Connection,
        chat: ChatKey,
        from: Part,
        descends: bool,
        limit: u32,
    ) -> Result<Vec<Self>> {
        let sql = if descends {
            "SELECT id, chat_id, part, first_document FROM search_extents WHERE token = ? AND number = ? AND part <= ? \
             ORDER BY part DESC LIMIT ?"
        } else {
            "SELECT id, chat_id, part, first_document FROM search_extents WHERE token = ? AND number = ? AND part >= ? \
             ORDER BY part LIMIT ?"
        };
        let mut statement = prepare(connection, sql)?;
        statement.query_map((chat.token.as_bytes(), chat.number.get(), from.0, limit), Self::decode)?.collect()
    }

    fn decode(row: &Row) -> Result<Self> {
        Ok(Self { id: row.get(0)?, chat_id: row.get(1)?, part: Part(row.get(2)?), first_document: row.get(3)? })
    }

    /// The row ids of the extent.
    fn documents(self) -> Range<i64> {
        self.first_document..self.first_document + self.part.documents()
    }

    /// The document of a number of this extent's part.
    pub(super) fn document_of(self, number: i64) -> DocumentId {
        DocumentId(self.first_document + (number - self.part.numbers().start) / i64::from(MESSAGES_PER_DOCUMENT))
    }

    /// The numbers of a document of this extent.
    fn numbers_of(self, document: DocumentId) -> Range<i64> {
        let first = self.part.numbers().start + (document.0 - self.first_document) * i64::from(MESSAGES_PER_DOCUMENT);
        first..first + i64::from(MESSAGES_PER_DOCUMENT)
    }

    /// A trigram that only the documents of this chat have. Without it, FTS5 would look for a match in the whole index. It is
    /// made of compatibility ideographs, which no folded text has. (Of more than 134,217,728 chats, some share a trigram, and
    /// their searches take longer.)
    pub(super) fn chat_trigram(self) -> String {
        const DIGIT_BITS: u32 = 9;
        const FIRST_DIGIT: u32 = 0x2_f800;
        let digit = |place: u32| {
            let bits = (self.chat_id >> (place * DIGIT_BITS)) & ((1 << DIGIT_BITS) - 1);
            u32::try_from(bits).ok().and_then(|bits| char::from_u32(FIRST_DIGIT + bits))
        };
        (0..3).filter_map(digit).collect()
    }
}

/// Extents of a chat in the order of a page, whose row ids are in that order too, so that one query finds their documents.
///
/// Extents get their row ids when the first message of their part is indexed, so they are in the order of their parts unless
/// events are in another order than their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a>(&'a [Extent]);

impl<'a> Run<'a> {
    /// Splits extents into as few runs as possible.
    pub(super) fn split(extents: &'a [Extent], descends: bool) -> impl Iterator<Item = Self> {
        extents.chunk_by(move |one, next| (one.first_document < next.first_document) != descends).map(Run)
    }

    pub(super) fn chat_trigram(self) -> String {
        self.0.first().map(|extent| extent.chat_trigram()).unwrap_or_default()
    }

    /// The numbers of the parts, and those between them.
    pub(super) fn numbers(self) -> Range<i64> {
        let numbers = self.0.iter().map(|extent| extent.part.numbers());
        numbers.reduce(|all, part| all.start.min(part.start)..all.end.max(part.end)).unwrap_or(0..0)
    }

    /// The documents of these numbers, as far as the run has them: the first and the last.
    pub(super) fn documents(self, numbers: &Range<i64>) -> Option<(DocumentId, DocumentId)> {
        let documents = self.0.iter().filter_map(|extent| {
            let part = extent.part.numbers();
            let (start, end) = (part.start.max(numbers.start), part.end.min(numbers.end));
            (start < end).then(|| (extent.document_of(start), extent.document_of(end - 1)))
        });
        documents.reduce(|all, extent| (all.0.min(extent.0), all.1.max(extent.1)))
    }

    /// The numbers of a document.
    pub(super) fn numbers_of(self, document: DocumentId) -> Range<i64> {
        let extent = self.0.iter().find(|extent| extent.documents().contains(&document.0));
        extent.map_or(0..0, |extent| extent.numbers_of(document))
    }
}

#[cfg(test)]
mod tests {
    use read_model::folding::{FoldingVersion, fold};

    use super::*;

    fn number(number: u32) -> MessageNumber {
        MessageNumber::new(number).expect("a number")
    }

    #[test]
    fn every_number_is_in_exactly_one_part() {
        let mut end = 0;
        for part in (0..20).map(Part) {
            let numbers = part.numbers();
            assert_eq!(numbers.start, end, "{part:?} follows the part before it");
            for number_of_part in [numbers.start.max(1), numbers.end - 1] {
                assert_eq!(Part::of(number(number_of_part.try_into().expect("small"))), part);
            }
            end = numbers.end;
        }
        assert!(Part::of(number(u32::MAX)).numbers().contains(&i64::from(u32::MAX)));
    }

    fn extent(id: i64, part: u32, first_document: i64) -> Extent {
        Extent { id, chat_id: 1, part: Part(part), first_document }
    }

    #[test]
    fn a_document_has_the_numbers_that_lead_to_it() {
        let extents = [extent(7, 2, 1_000), extent(9, 3, 5_000)];
        for descends in [false, true] {
            let mut extents = extents;
            if descends {
                extents.reverse();
            }
            let runs: Vec<_> = Run::split(&extents, descends).collect();
            assert_eq!(runs.len(), 1);
            for number in runs[0].numbers() {
                let (document, last) = runs[0].documents(&(number..number + 1)).expect("a document");
                assert_eq!(document, last);
                assert!(runs[0].numbers_of(document).contains(&number));
            }
            let all = runs[0].documents(&(0..i64::MAX)).expect("documents");
            assert_eq!(all, (DocumentId(1_000), DocumentId(5_000 + Part(3).documents() - 1)));
        }
    }

    #[test]
    fn extents_with_row_ids_in_another_order_are_in_several_runs() {
        let extents = [extent(1, 0, 0), extent(3, 1, 900), extent(2, 2, 500), extent(4, 3, 2_000)];
        let lengths =
            |extents: &[Extent], descends| Run::split(extents, descends).map(|run| run.0.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&extents, false), [2, 2]);
        let mut reversed = extents;
        reversed.reverse();
        assert_eq!(lengths(&reversed, true), [2, 2]);
    }

    #[test]
    fn chats_have_different_trigrams_of_three_characters() {
        let trigram = |chat_id| Extent { id: 0, chat_id, part: Part(0), first_document: 0 }.chat_trigram();
        let trigrams: std::collections::HashSet<_> = (1..5_000).map(trigram).collect();
        assert_eq!(trigrams.len(), 4_999);
        assert!(trigrams.iter().all(|trigram| trigram.chars().count() == 3));
        let characters: std::collections::HashSet<char> = trigrams.iter().flat_map(|trigram| trigram.chars()).collect();
        assert_eq!(characters.len(), 512);
        for version in FoldingVersion::ALL {
            let folded = |character: &char| fold(version, &character.to_string());
            assert!(characters.iter().all(|character| !folded(character).contains(*character)), "a text could have it");
        }
    }
}
