//! The SQL that reads views; that of chats is in `read_chats`, that of messages in `read_messages`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, LogId, MessageNumber, Offset, PartitionId, Position};
use futures_util::TryStreamExt;
use read_model::page::MAX_BYTES;
use read_model::{
    ApplicationView, ChatView, Cursor, LastMessage, MessageView, Page, Projection, Shown, Slice, Views, ViewsError,
};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::MySqlProjections;
use super::checkpoint_tx::{Generation, decode_uuid};
use super::columns::{decode_error, decode_time, decode_token};
use super::connections::{Connections, READ_WAIT, Statement, with_timeout};
use super::coverage::{Coverage, decode_offset, decode_partition, load_checkpoints};

/// The most text that a read discards so that its connection can be reused. Reading more costs more than a new
/// connection.
const MAX_LEFTOVER_BYTES: usize = 2 * MAX_BYTES;

/// Loads how far each projection is, in its live generation.
pub(super) async fn load_progress(readers: Connections) -> Result<BTreeMap<Projection, Position>, sqlx::Error> {
    let statement = sqlx::query(
        "SELECT projection, partition_id, next_offset FROM checkpoints \
         JOIN projections ON name = projection AND projections.generation = checkpoints.generation",
    );
    let rows = with_timeout(READ_WAIT, readers.fetch_all(statement)).await?;
    let mut progress: BTreeMap<Projection, Position> = BTreeMap::new();
    for row in rows {
        let name: &str = row.try_get(0)?;
        if let Some(projection) = Projection::ALL.into_iter().find(|projection| projection.name() == name) {
            let position = Position::up_to(PartitionId(row.try_get(1)?), Offset(row.try_get(2)?));
            progress.entry(projection).or_default().merge(&position);
        }
    }
    Ok(progress)
}

/// Reads at most one row of each table that is read, and the columns that the last migrations have added.
pub(super) async fn probe_tables(readers: &Connections) -> Result<(), sqlx::Error> {
    let statement = sqlx::query(
        "SELECT EXISTS (SELECT * FROM checkpoints), EXISTS (SELECT log_offset FROM applications), \
         EXISTS (SELECT log_offset FROM chats), EXISTS (SELECT log_offset FROM messages), \
         EXISTS (SELECT * FROM application_counts), EXISTS (SELECT placed_count FROM chat_counts), \
         EXISTS (SELECT * FROM access_keys), EXISTS (SELECT * FROM voided_users), EXISTS (SELECT * FROM log_ends), \
         EXISTS (SELECT * FROM feed), EXISTS (SELECT fed_offset FROM checkpoints) \
         FROM projections AS views JOIN projections AS counts ON counts.name = 'counts' WHERE views.name = 'views'",
    );
    readers.fetch_optional(statement).await?.map(drop).ok_or(sqlx::Error::RowNotFound)
}

/// The live generations of `views` and `counts`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LiveGenerations {
    pub(super) views: Generation,
    pub(super) counts: Generation,
}

impl MySqlProjections {
    pub(super) async fn load_live_generations(&self) -> Result<LiveGenerations, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT views.generation, counts.generation FROM projections AS views \
             JOIN projections AS counts ON counts.name = 'counts' WHERE views.name = 'views'",
        );
        let row = self.readers.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(LiveGenerations { views: Generation(row.try_get(0)?), counts: Generation(row.try_get(1)?) })
    }

    /// Reads rows until a page is full. `statement` selects up to one row more than the page's limit. `decode` returns an item and its
    /// bytes of text, and adds to `coverage` what the item shows.
    pub(super) async fn read_slice<T>(
        &self,
        limit: u32,
        statement: Statement,
        coverage: &mut Coverage,
        decode: impl Fn(&MySqlRow, &mut Coverage) -> Result<(T, usize), sqlx::Error>,
    ) -> Result<Slice<T>, sqlx::Error> {
        let mut slice = Slice::builder(limit);
        let mut more = false;
        let mut leftover_bytes = 0;
        let mut lease = self.readers.lease().await?;
        let mut rows = statement.fetch(&mut *lease);
        while let Some(row) = rows.try_next().await? {
            if !slice.is_full() {
                let (item, text_bytes) = decode(&row, coverage)?;
                slice.push(item, text_bytes);
                continue;
            }
            let (_, text_bytes) = decode(&row, &mut Coverage::default())?;
            more = true;
            leftover_bytes += text_bytes;
            // A page that is full by its number of items has read the last row. A page that is full by its size has
            // not: up to a thousand rows may follow, and the connection would read them all before its next statement.
            // So this drops the connection without giving it back: that closes it, and the server stops sending.
            if leftover_bytes > MAX_LEFTOVER_BYTES {
                return Ok(slice.finish(more));
            }
        }
        drop(rows);
        lease.give_back();
        Ok(slice.finish(more))
    }

    async fn read_log_id(&self) -> Result<Option<LogId>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT max(log_id) FROM projections \
             JOIN checkpoints ON projection = name AND checkpoints.generation = projections.generation WHERE name = ?",
        )
        .bind(Projection::Views.name());
        let row = self.readers.fetch_optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(decode_uuid(&row, 0)?.map(LogId))
    }

    async fn read_application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, sqlx::Error> {
        let statement = sqlx::query(
            "SELECT a.token, a.name, CAST(coalesce(c.chats_count, 0) AS UNSIGNED), a.created_at_ms, \
             (SELECT CAST(json_arrayagg(json_array(partition_id, next_offset)) AS CHAR) FROM checkpoints \
             JOIN projections ON name = projection AND projections.generation = checkpoints.generation) \
             FROM applications AS a \
             LEFT JOIN application_counts AS c ON c.token = a.token \
             AND c.generation = (SELECT generation FROM projections WHERE name = 'counts') \
             WHERE a.generation = (SELECT generation FROM projections WHERE name = 'views') AND a.token = ?",
        )
        .bind(token.as_bytes().to_vec());
        let row = self.readers.fetch_optional(statement).await?;
        row.map(|row| Ok(Shown { value: decode_application(&row)?.0, position: decode_checkpoints(&row, 4)? }))
            .transpose()
    }

    /// Reads the checkpoints after the rows: they cover whatever the rows show, also if a batch has come in between.
    async fn read_applications(
        &self,
        page: Page<ApplicationToken>,
    ) -> Result<Shown<Slice<ApplicationView>>, sqlx::Error> {
        let LiveGenerations { views, counts } = self.load_live_generations().await?;
        let (lowest, highest) = tokens_between(page.cursor);
        let query = if page.cursor.descends() {
            "SELECT a.token, a.name, CAST(coalesce(c.chats_count, 0) AS UNSIGNED), a.created_at_ms FROM applications AS a \
             LEFT JOIN application_counts AS c ON c.generation = ? AND c.token = a.token \
             WHERE a.generation = ? AND a.token >= ? AND a.token <= ? ORDER BY a.token DESC LIMIT ?"
        } else {
            "SELECT a.token, a.name, CAST(coalesce(c.chats_count, 0) AS UNSIGNED), a.created_at_ms FROM applications AS a \
             LEFT JOIN application_counts AS c ON c.generation = ? AND c.token = a.token \
             WHERE a.generation = ? AND a.token >= ? AND a.token <= ? ORDER BY a.token LIMIT ?"
        };
        let value = match (lowest, highest) {
            (Some(lowest), Some(highest)) => {
                let query = sqlx::query(query).bind(counts.0).bind(views.0).bind(lowest).bind(highest);
                let decode = |row: &MySqlRow, _: &mut Coverage| decode_application(row);
                self.read_slice(page.limit, query.bind(page.limit + 1), &mut Coverage::default(), decode).await?
            }
            // No token lies in that direction.
            _ => Slice { items: Vec::new(), more: false },
        };
        let mut position = load_checkpoints(&self.readers, Projection::Views, views).await?;
        position.merge(&load_checkpoints(&self.readers, Projection::Counts, counts).await?);
        Ok(Shown { value, position })
    }
}

/// Adds an event of a row of `views` from its columns `generation`, `partition_id` and `log_offset`; `column` is the index of the first.
pub(super) fn add_event_of_views(row: &MySqlRow, column: usize, coverage: &mut Coverage) -> Result<(), sqlx::Error> {
    let generation = Generation(row.try_get(column)?);
    let (partition, offset) = (decode_partition(row, column + 1)?, decode_offset(row, column + 2)?);
    coverage.add((Projection::Views, generation), partition, offset);
    Ok(())
}

/// The inclusive bounds of the tokens of a page; `None` if no token lies in that direction.
fn tokens_between(cursor: Cursor<ApplicationToken>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let first = 0_u128;
    let last = u128::MAX;
    let number = |token: ApplicationToken| u128::from_be_bytes(*token.as_bytes());
    let (lowest, highest) = match cursor {
        Cursor::First | Cursor::Last => (Some(first), Some(last)),
        Cursor::After(token) => (number(token).checked_add(1), Some(last)),
        Cursor::Before(token) => (Some(first), number(token).checked_sub(1)),
    };
    let bytes = |number: u128| number.to_be_bytes().to_vec();
    (lowest.map(bytes), highest.map(bytes))
}

/// The exclusive bounds of the numbers of a page.
pub(super) fn numbers_between<N>(cursor: Cursor<N>, get: impl Fn(N) -> u32) -> (u64, u64) {
    match cursor {
        Cursor::First | Cursor::Last => (0, u64::MAX),
        Cursor::After(number) => (get(number).into(), u64::MAX),
        Cursor::Before(number) => (0, get(number).into()),
    }
}

fn decode_application(row: &MySqlRow) -> Result<(ApplicationView, usize), sqlx::Error> {
    let name: String = row.try_get(1)?;
    let text_bytes = name.len();
    let (token, chats_count, created_at) = (decode_token(row, 0)?, row.try_get(2)?, decode_time(row, 3)?);
    Ok((ApplicationView { name, token, chats_count, created_at }, text_bytes))
}

/// Decodes checkpoints that a statement has collected as JSON; NULL if there are none.
fn decode_checkpoints(row: &MySqlRow, column: usize) -> Result<Position, sqlx::Error> {
    let mut position = Position::default();
    if let Some(json) = row.try_get::<Option<&str>, _>(column)? {
        let checkpoints: Vec<(u16, u64)> = serde_json::from_str(json).map_err(|error| decode_error(column, error))?;
        for (partition, next) in checkpoints {
            position.extend(PartitionId(partition), Offset(next));
        }
    }
    Ok(position)
}

/// Wraps an error of reading `what`.
fn wrap_error(what: &'static str) -> impl Fn(sqlx::Error) -> ViewsError {
    move |error| ViewsError { what, source: error.into() }
}

#[async_trait]
impl Views for MySqlProjections {
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError> {
        let reached = self.wait_until_reached(projection, position, within).await;
        reached.map_err(|source| ViewsError { what: "the checkpoints", source })
    }

    async fn log_id(&self) -> Result<Option<LogId>, ViewsError> {
        with_timeout(READ_WAIT, self.read_log_id()).await.map_err(wrap_error("the identity of the log"))
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_application(token)).await.map_err(wrap_error("the application"))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_applications(page)).await.map_err(wrap_error("the applications"))
    }

    async fn chat(&self, chat: ChatKey, last_message: LastMessage) -> Result<Option<Shown<ChatView>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_chat(chat, last_message)).await.map_err(wrap_error("the chat"))
    }

    async fn find_chat(&self, chat: ChatKey) -> Result<Option<Position>, ViewsError> {
        with_timeout(READ_WAIT, self.find_chat_position(chat)).await.map_err(wrap_error("the chat"))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_chats(token, page, last_message)).await.map_err(wrap_error("the chats"))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_message(chat, number)).await.map_err(wrap_error("the message"))
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, ViewsError> {
        with_timeout(READ_WAIT, self.read_messages(chat, page)).await.map_err(wrap_error("the messages"))
    }
}
