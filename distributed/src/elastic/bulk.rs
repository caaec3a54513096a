//! Documents going in: each is created under its message's own id, and never again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber};
use read_model::SearchDocument;
use serde::Deserialize;
use serde_json::json;

use super::client::{BULK, Body, Cause, Request, SERVER_WAITS_LONG, Server};
use super::error::ElasticError;
use super::generation::Generation;

/// A request ends with the document that brings it to so many bytes.
const MAX_BYTES: usize = 5 * 1024 * 1024;
/// Most documents of a request.
const MAX_DOCUMENTS: usize = 1_000;
/// How often a document is sent while the server has no room for it.
const ATTEMPTS: u32 = 6;
/// The pause before the second attempt; each next one is twice as long, so that all of them are 3.1 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A status that says: not now.
const TOO_MANY_REQUESTS: u16 = 429;
/// A status that says: it is there already.
const CONFLICT: u16 = 409;

/// A document as it is sent.
struct Entry {
    chat: ChatKey,
    number: MessageNumber,
    /// Two lines: what to do, with what.
    lines: Vec<u8>,
}

#[derive(Deserialize)]
struct BulkReply {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct ShardsReply {
    #[serde(rename = "_shards")]
    shards: Shards,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

/// What became of documents that were to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    /// All of them are new, and on the disks of their shards.
    New,
    /// Some were there already, see [`flush`].
    SomeBefore,
}

/// Creates the documents that are not there; of several with one id the first.
pub(super) async fn create(
    server: &Server,
    generation: &Generation,
    documents: &[SearchDocument],
) -> Result<Created, ElasticError> {
    // The second under an id goes here, not at the server: there it could come first, if the first is to be sent again.
    let mut ids = HashSet::new();
    let (mut created, mut chunk) = (Created::New, Chunk::default());
    for document in documents.iter().filter(|document| ids.insert((document.chat, document.number))) {
        chunk.push(entry(document));
        if chunk.is_full() {
            created = created.and(send(server, generation, std::mem::take(&mut chunk).entries).await?);
        }
    }
    Ok(created.and(send(server, generation, chunk.entries).await?))
}

impl Created {
    fn and(self, other: Self) -> Self {
        if self == Self::New { other } else { self }
    }
}

/// Brings everything that was written so far to the disk, on every copy of a shard. A document that is there already is
/// refused without looking whether the request that wrote it came that far: it may still be under way, or have been cut off.
/// As with [`refresh`], those which ask at the same time share one.
pub(super) async fn flush(server: &Server, generation: &Generation) -> Result<(), ElasticError> {
    let now = async || on_every_shard(server, generation, "_flush").await.map_err(Arc::new);
    generation.flushes.run(now).await.map_err(ElasticError::Flush)
}

/// Makes everything that was written so far visible to searches. It costs the server the same for one batch as for those
/// of all partitions, so that those which are written at the same time share one.
pub(super) async fn refresh(server: &Server, generation: &Generation) -> Result<(), ElasticError> {
    let now = async || on_every_shard(server, generation, "_refresh").await.map_err(Arc::new);
    generation.refreshes.run(now).await.map_err(ElasticError::Refresh)
}

async fn on_every_shard(server: &Server, generation: &Generation, what: &str) -> Result<(), ElasticError> {
    let path = format!("{}/{what}", generation.index);
    let request = Request { method: Method::Post, path: &path, query: &[], body: Body::Empty, time_out: BULK };
    let ShardsReply { shards } = server.ask(request).await?;
    if shards.failed > 0 {
        let reason = format!("{} shards have failed", shards.failed);
        return Err(ElasticError::Refused { status: 200, reason });
    }
    Ok(())
}

#[derive(Default)]
struct Chunk {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Chunk {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.lines.len();
        self.entries.push(entry);
    }

    fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.entries.len() >= MAX_DOCUMENTS
    }
}

fn entry(document: &SearchDocument) -> Entry {
    let SearchDocument { chat, number, body, folded } = document;
    let routing = routing(*chat);
    let action = json!({"create": {"_id": format!("{routing}:{number}"), "routing": routing}});
    let source = json!({"chat": routing, "number": number, "body": body, "folded": folded});
    Entry { chat: *chat, number: *number, lines: format!("{action}\n{source}\n").into_bytes() }
}

/// The text that a chat is known by, and that decides on its shard.
pub(super) fn routing(chat: ChatKey) -> String {
    format!("{}:{}", chat.token.to_hex(), chat.number)
}

/// Sends documents until all of them are there, those that the server had no room for again.
async fn send(server: &Server, generation: &Generation, mut entries: Vec<Entry>) -> Result<Created, ElasticError> {
    let (mut created, mut pause, mut attempt) = (Created::New, FIRST_PAUSE, 1);
    while !entries.is_empty() {
        let Some(reason) = send_once(server, generation, &mut entries, &mut created).await? else { break };
        if attempt == ATTEMPTS {
            return Err(ElasticError::Busy { documents: entries.len(), attempts: ATTEMPTS, reason });
        }
        tracing::warn!(documents = entries.len(), attempt, reason, "Elasticsearch has no room for documents; waiting");
        tokio::time::sleep(pause).await;
        pause *= 2;
        attempt += 1;
    }
    Ok(created)
}

/// Sends documents and leaves those that there was no room for; the answer is what the server says about the first.
async fn send_once(
    server: &Server,
    generation: &Generation,
    entries: &mut Vec<Entry>,
    created: &mut Created,
) -> Result<Option<String>, ElasticError> {
    let path = format!("{}/_bulk", generation.writes);
    let query = [
        ("require_alias", "true"),
        ("timeout", SERVER_WAITS_LONG),
        ("filter_path", "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by,error"),
    ];
    let body = Body::Lines(entries.iter().map(|entry| entry.lines.as_slice()).collect::<Vec<_>>().concat());
    let reply = server.send(Request { method: Method::Post, path: &path, query: &query, body, time_out: BULK }).await?;
    if reply.status == TOO_MANY_REQUESTS {
        return Ok(Some(reply.refused().to_string()));
    }
    let BulkReply { items } = reply.expect_success()?.json()?;
    if items.len() != entries.len() {
        let reason = format!("{} outcomes for {} documents", items.len(), entries.len());
        return Err(ElasticError::Unreadable { reason });
    }
    let mut busy = None;
    let mut left = Vec::new();
    for (entry, Item { create: Outcome { status, error } }) in std::mem::take(entries).into_iter().zip(items) {
        let reason = || error.as_ref().map_or_else(|| "no reason given".to_owned(), Cause::shown);
        match status {
            200..300 => {}
            CONFLICT => *created = Created::SomeBefore,
            TOO_MANY_REQUESTS => {
                busy.get_or_insert_with(reason);
                left.push(entry);
            }
            _ if error.as_ref().is_some_and(Cause::is_missing_index) => {
                return Err(ElasticError::Missing { reason: reason() });
            }
            _ => {
                let document = format!("message {} of chat {}", entry.number, entry.chat);
                return Err(ElasticError::Document { document, status, reason: reason() });
            }
        }
    }
    *entries = left;
    Ok(busy)
}
