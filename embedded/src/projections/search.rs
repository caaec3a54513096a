//! The search index: one row of text for each message, and an FTS5 index of the texts' trigrams.
//!
//! A search for three characters or more is a phrase of trigrams. FTS5 finds every text that contains the phrase. It
//! finds a few other texts too, because it reads U+FFFE and U+FFFF as U+FFFD; so the query also compares the texts. One
//! or two characters have no trigram, so for these the query scans the texts of the chat. In both cases a chat is a
//! range of row ids, so the cost depends on the size of that chat only.

use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};
use read_model::{
    Applied, Checkpoint, CheckpointMove, MessageView, Page, Projection, SearchDocument, SearchError, SearchIndex,
    SearchText, Slice,
};
use rusqlite::{Connection, Result, params};

use super::SqliteProjections;
use super::ordinals::{OrdinalTable, assign_ordinals, find_ordinal};
use super::read_views::{decode_message, read_slice};
use crate::sqlite::prepare;

const CHATS: OrdinalTable = OrdinalTable {
    select: "SELECT ordinal FROM search_chats WHERE token = ? AND number = ?",
    insert: "INSERT INTO search_chats (token, number) VALUES (?, ?) RETURNING ordinal",
};

/// The most documents of one batch. The bound is small, because indexing is slow and the other projections, which write
/// to the same database, wait meanwhile.
const DOCUMENTS_PER_BATCH: u32 = 256;

fn write_documents(connection: &Connection, documents: &[SearchDocument]) -> Result<()> {
    let ordinals = assign_ordinals(connection, &CHATS, documents.iter().map(|document| document.chat))?;
    let mut insert = prepare(
        connection,
        "INSERT INTO search_messages (id, body, folded) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )?;
    let mut index = prepare(connection, "INSERT INTO search_trigrams (rowid, folded) VALUES (?, ?)")?;
    for document in documents {
        let id = ordinals[&document.chat].row_id(document.number);
        // A document that is stored has its trigrams already, and must not get them twice.
        if insert.execute((id, &document.body, &document.folded))? > 0 {
            index.execute((id, &document.folded))?;
        }
    }
    Ok(())
}

fn search(
    connection: &Connection,
    chat: ChatKey,
    text: &SearchText,
    page: Page<MessageNumber>,
) -> Result<Slice<MessageView>> {
    let Some(ordinal) = find_ordinal(connection, CHATS.select, chat)? else {
        return Ok(Slice { items: Vec::new(), more: false });
    };
    let sql = match (text.has_trigrams(), page.cursor.descends()) {
        (true, false) => {
            "SELECT id & 4294967295, body FROM search_trigrams JOIN search_messages ON id = search_trigrams.rowid \
             WHERE search_trigrams MATCH ?5 AND search_trigrams.rowid > ?2 AND search_trigrams.rowid < ?3 \
             AND instr(search_messages.folded, ?1) > 0 ORDER BY search_trigrams.rowid LIMIT ?4"
        }
        (true, true) => {
            "SELECT id & 4294967295, body FROM search_trigrams JOIN search_messages ON id = search_trigrams.rowid \
             WHERE search_trigrams MATCH ?5 AND search_trigrams.rowid > ?2 AND search_trigrams.rowid < ?3 \
             AND instr(search_messages.folded, ?1) > 0 ORDER BY search_trigrams.rowid DESC LIMIT ?4"
        }
        (false, false) => {
            "SELECT id & 4294967295, body FROM search_messages \
             WHERE instr(folded, ?1) > 0 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4"
        }
        (false, true) => {
            "SELECT id & 4294967295, body FROM search_messages \
             WHERE instr(folded, ?1) > 0 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        }
    };
    let (above, below) = ordinal.row_ids_between(page.cursor);
    if text.has_trigrams() {
        let params = params![text.as_str(), above, below, page.limit + 1, quote_phrase(text)];
        read_slice(connection, sql, params, page.limit, decode_message)
    } else {
        read_slice(connection, sql, params![text.as_str(), above, below, page.limit + 1], page.limit, decode_message)
    }
}

/// Quotes the text as one phrase of FTS5's query language. Within quotes only the quote is special.
fn quote_phrase(text: &SearchText) -> String {
    format!("\"{}\"", text.as_str().replace('"', "\"\""))
}

#[async_trait]
impl SearchIndex for SqliteProjections {
    fn batch_size(&self) -> u32 {
        DOCUMENTS_PER_BATCH
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        self.file
            .checkpoint(Projection::Search, partition)
            .map_err(|error| SearchError::Checkpoint { partition, source: error.into() })
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        let write = move |connection: &mut Connection| write_documents(connection, &documents);
        self.apply(Projection::Search, checkpoint_move, write)
            .await
            .map_err(|error| SearchError::Index { checkpoint_move, source: error.into() })
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        Ok(self.file.progress.wait_until_reached(Projection::Search, position, within).await)
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError> {
        let text = text.clone();
        self.read_blocking(&self.searches, move |connection| search(connection, chat, &text, page))
            .await
            .map_err(|error| SearchError::Search(error.into()))
    }
}
