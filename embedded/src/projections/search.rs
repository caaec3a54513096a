//! The search index: one row of text for each message, and an FTS5 index of the texts' trigrams.
//!
//! A search for three characters or more is a phrase of trigrams. FTS5 finds every text that contains the phrase. It
//! finds a few other texts too, because it reads U+FFFE and U+FFFF as U+FFFD; so the query also compares the texts. One
//! or two characters have no trigram, so for these the query scans the texts of the chat. In both cases a chat is a
//! range of row ids, so the cost depends on the size of that chat only.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};
use read_model::{
    Applied, Checkpoint, CheckpointMove, MessageView, Page, Projection, SearchDocument, SearchError, SearchIndex,
    SearchText, Slice,
};
use sqlx::Row;

use super::SqliteProjections;
use super::ordinals::{Ordinal, OrdinalTable, assign_ordinals};
use super::read_views::decode_message;
use crate::sqlite::insert_rows;

const CHATS: OrdinalTable = OrdinalTable {
    select: "SELECT ordinal, token, number FROM search_chats WHERE (token, number) IN",
    insert: "INSERT INTO search_chats (token, number) ",
};

/// The most documents of one batch. The bound is small, because indexing is slow and the other projections, which write
/// to the same database, wait meanwhile.
const DOCUMENTS_PER_BATCH: u32 = 256;

impl SqliteProjections {
    async fn index_documents(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, sqlx::Error> {
        let Some(mut transaction) = self.begin(Projection::Search, checkpoint_move).await? else {
            return Ok(Applied::Superseded);
        };
        let connection = transaction.connection();
        let ordinals = assign_ordinals(connection, &CHATS, documents.iter().map(|document| document.chat)).await?;
        let mut rows: Vec<_> = documents
            .into_iter()
            .map(|document| (ordinals[&document.chat].row_id(document.number), document))
            .collect();
        let inserted = insert_rows(
            connection,
            "INSERT INTO search_messages (id, body, folded) ",
            " ON CONFLICT (id) DO NOTHING RETURNING id",
            &rows,
            |row, (id, document)| {
                row.push_bind(id).push_bind(document.body.as_str()).push_bind(document.folded.as_str());
            },
        )
        .await?;
        // A document that the insert skipped has its trigrams already, and must not get them twice.
        let mut inserted = inserted.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<i64>, _>>()?;
        rows.retain(|(id, _)| inserted.remove(id));
        insert_rows(connection, "INSERT INTO search_trigrams (rowid, folded) ", "", &rows, |row, (id, document)| {
            row.push_bind(id).push_bind(document.folded.as_str());
        })
        .await?;
        self.commit(transaction, Projection::Search, checkpoint_move).await
    }

    async fn find(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, sqlx::Error> {
        let query = sqlx::query("SELECT ordinal FROM search_chats WHERE token = ? AND number = ?")
            .bind(chat.token.as_bytes().to_vec())
            .bind(i64::from(chat.number.get()));
        let Some(row) = self.readers.fetch_optional(query).await? else {
            return Ok(Slice { items: Vec::new(), more: false });
        };
        let ordinal = Ordinal(row.try_get(0)?);
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
        let query = sqlx::query(sql).bind(text.as_str().to_owned()).bind(above).bind(below).bind(page.limit + 1);
        let query = if text.has_trigrams() { query.bind(quote_phrase(text)) } else { query };
        self.read_slice(page.limit, query, decode_message).await
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
        self.load_checkpoint(Projection::Search, partition)
            .await
            .map_err(|error| SearchError::Checkpoint { partition, source: error.into() })
    }

    async fn index(
        &self,
        checkpoint_move: CheckpointMove,
        documents: Vec<SearchDocument>,
    ) -> Result<Applied, SearchError> {
        self.index_documents(checkpoint_move, documents)
            .await
            .map_err(|error| SearchError::Index { checkpoint_move, source: error.into() })
    }

    async fn reached(&self, position: &Position, within: Duration) -> Result<bool, SearchError> {
        Ok(self.progress.wait_until_reached(Projection::Search, position, within).await)
    }

    async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, SearchError> {
        self.find(chat, text, page).await.map_err(|error| SearchError::Search(error.into()))
    }
}
