//! The search index: a row of text a message, and an FTS5 index of its trigrams.
//!
//! Three characters or more are looked for as a phrase of trigrams. That finds every text that has them, and a few that
//! have not: FTS5 takes U+FFFE and U+FFFF for U+FFFD, hence a look at what was found. One or two characters make no
//! trigram: then the texts of the chat are scanned. Either way a chat is a range of row ids, and its size alone decides
//! the cost.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use events::{ChatKey, MessageNumber, PartitionId, Position};
use read_model::{
    Applied, Checkpoint, CheckpointMove, MessageView, Page, Projection, SearchDocument, SearchError, SearchIndex,
    SearchText, Slice,
};
use sqlx::Row;

use super::ordinals::{self, Ordinal, OrdinalTable};
use super::read_views::message;
use super::{SqliteProjections, checkpoint};
use crate::sqlite::insert_rows;

const CHATS: OrdinalTable = OrdinalTable {
    select: "SELECT ordinal, token, number FROM search_chats WHERE (token, number) IN",
    insert: "INSERT INTO search_chats (token, number) ",
};

/// Indexing costs more than other rows do, and a writer of the same database must not wait long for it.
const DOCUMENTS_A_BATCH: u32 = 256;

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
        let ordinals = ordinals::of_chats(connection, &CHATS, documents.iter().map(|document| document.chat)).await?;
        let mut rows: Vec<_> = documents
            .into_iter()
            .map(|document| (ordinals[&document.chat].row_id(document.number), document))
            .collect();
        let written = insert_rows(
            connection,
            "INSERT INTO search_messages (id, body, folded) ",
            " ON CONFLICT (id) DO NOTHING RETURNING id",
            &rows,
            |row, (id, document)| {
                row.push_bind(id).push_bind(document.body.as_str()).push_bind(document.folded.as_str());
            },
        )
        .await?;
        // A document whose row was there already has its trigrams, and must not get them twice.
        let mut written = written.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<i64>, _>>()?;
        rows.retain(|(id, _)| written.remove(id));
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
        let ordinal = sqlx::query_scalar("SELECT ordinal FROM search_chats WHERE token = ? AND number = ?")
            .bind(chat.token.as_bytes().to_vec())
            .bind(i64::from(chat.number.get()))
            .fetch_optional(&self.readers)
            .await?;
        let Some(ordinal) = ordinal.map(Ordinal) else {
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
        let query = sqlx::query(sql).bind(text.as_str().to_owned()).bind(above).bind(below).bind(page.limit + 1);
        let query = if text.has_trigrams() { query.bind(phrase(text)) } else { query };
        self.slice(page.limit, query, message).await
    }
}

/// The text as one phrase of FTS5's query language, in which nothing but the quote is special within quotes.
fn phrase(text: &SearchText) -> String {
    format!("\"{}\"", text.as_str().replace('"', "\"\""))
}

#[async_trait]
impl SearchIndex for SqliteProjections {
    fn batch_size(&self) -> u32 {
        DOCUMENTS_A_BATCH
    }

    async fn checkpoint(&self, partition: PartitionId) -> Result<Checkpoint, SearchError> {
        checkpoint(&self.readers, Projection::Search, partition)
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
        Ok(self.progress.reached(Projection::Search, position, within).await)
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
