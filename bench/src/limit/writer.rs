//! The thread that writes the log. It numbers the queued posts and commits them as a group.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior, params};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::sql;

/// Bound on the queue of posts; further posts wait.
const MAX_QUEUED: usize = 4_096;
/// The most posts of one transaction.
const MAX_GROUP: usize = 512;

/// A post that waits for its commit.
pub(super) struct Post {
    pub(super) token: String,
    pub(super) chat: u32,
    pub(super) body: String,
    /// Gets the message's number.
    pub(super) committed: oneshot::Sender<u64>,
}

/// The JSON of Tally's event.
#[derive(Serialize)]
struct Event<'a> {
    token: &'a str,
    chat_number: u32,
    number: u64,
    body: &'a str,
}

/// Creates the log and starts the thread.
pub(super) fn start(path: &Path) -> Result<mpsc::Sender<Post>, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.execute_batch(sql::LOG_SCHEMA)?;
    let (queue, posts) = mpsc::channel(MAX_QUEUED);
    std::thread::spawn(move || write_groups(connection, posts));
    Ok(queue)
}

/// A group that cannot be written is dropped, which answers its posts 503.
fn write_groups(mut connection: Connection, mut posts: mpsc::Receiver<Post>) {
    let mut last_numbers = HashMap::new();
    let mut next_offset = 0;
    let mut group = Vec::with_capacity(MAX_GROUP);
    while posts.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        let Ok(numbers) = commit(&mut connection, next_offset, &group, &mut last_numbers) else {
            group.clear();
            continue;
        };
        next_offset += numbers.len() as i64;
        for (post, number) in group.drain(..).zip(numbers) {
            // Whoever asked may have gone away.
            let _ = post.committed.send(number);
        }
    }
}

fn commit(
    connection: &mut Connection,
    first_offset: i64,
    group: &[Post],
    last_numbers: &mut HashMap<(String, u32), u64>,
) -> Result<Vec<u64>, rusqlite::Error> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut numbers = Vec::with_capacity(group.len());
    {
        let mut insert = transaction.prepare_cached(sql::INSERT_EVENT)?;
        for (offset, post) in (first_offset..).zip(group) {
            let last = last_numbers.entry((post.token.clone(), post.chat)).or_default();
            *last += 1;
            let event = Event { token: &post.token, chat_number: post.chat, number: *last, body: &post.body };
            let data =
                serde_json::to_vec(&event).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let stream = format!("{}:{}", post.token, post.chat);
            let event_id = uuid::Uuid::now_v7();
            insert.execute(params![offset, event_id.as_bytes(), now_ms, stream, last.cast_signed(), data])?;
            numbers.push(*last);
        }
    }
    transaction.commit()?;
    Ok(numbers)
}
