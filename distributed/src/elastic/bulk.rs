//! Writes documents: creates each one under the id of its message, and never a second time.

use std::collections::HashSet;
use std::time::Duration;

use backon::{ExponentialBuilder, RetryableWithContext};
use elasticsearch::http::Method;
use events::{ChatKey, MessageNumber, PartitionId};
use read_model::SearchDocument;
use read_model::folding::fold;
use read_model::trigrams::distinct_trigrams;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{BULK_TIMEOUT, Body, ElasticClient, ErrorCause, Request, SERVER_BULK_TIMEOUT};
use super::error::ElasticError;
use super::index_names::{IndexNames, routing_key};
use super::index_version::DocumentFormat;

/// A request ends with the document that reaches this size.
const MAX_BYTES: usize = 5 * 1024 * 1024;
/// A folded text of this size may be sent as its trigrams.
const MIN_LONG_BYTES: usize = 4 * 1024;
/// Most documents in a request.
const MAX_DOCUMENTS: usize = 1_000;
/// How often the adapter sends a document while the server has no room for it.
const ATTEMPTS: u32 = 6;
/// The pauses double from 100 ms on, so that all of them take 3.1 s. Jitter makes each up to twice as long, so that
/// several projectors do not retry at the same moments.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_factor(2.0)
    .with_max_times(ATTEMPTS as usize - 1)
    .with_jitter();

/// The server has no room at the moment.
const TOO_MANY_REQUESTS: u16 = 429;
/// The document exists already.
const CONFLICT: u16 = 409;

/// A document as a request contains it.
struct BulkDocument {
    chat: ChatKey,
    number: MessageNumber,
    /// Two lines: the action, and the document's source.
    lines: Vec<u8>,
}

#[derive(Deserialize)]
struct BulkReply {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    error: Option<ErrorCause>,
}

/// Of several requests, the greatest outcome counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BulkOutcome {
    /// All documents are new, and on the disks of their shards.
    AllCreated,
    /// Some documents existed already, and may not be on the disk: the server refuses a document that exists without
    /// checking how far the request that wrote it has come. That request may still be under way, or was cut off.
    SomeExisted,
}

/// The documents that are still to be sent, and the outcome so far.
struct Upload {
    documents: Vec<BulkDocument>,
    outcome: BulkOutcome,
}

/// Creates the documents of a partition that do not exist yet, in this format. Of several with the same id, the first wins.
pub(super) async fn create(
    client: &ElasticClient,
    names: &IndexNames,
    format: DocumentFormat,
    partition: PartitionId,
    mut documents: Vec<SearchDocument>,
) -> Result<BulkOutcome, ElasticError> {
    // Drops later documents of an id here. At the server a later one could win: if the server had no room for the
    // first, that one would be sent again after the later one.
    let mut ids = HashSet::new();
    documents.retain(|document| ids.insert((document.chat, document.number)));
    let mut outcome = BulkOutcome::AllCreated;
    let mut left = documents.into_iter();
    while left.len() > 0 {
        // Folding a long text takes milliseconds, which would keep other requests of this thread waiting.
        let folding_documents = tokio::task::spawn_blocking(move || (Chunk::fill(&mut left, format, partition), left));
        let chunk;
        (chunk, left) = folding_documents.await.map_err(ElasticError::Fold)?;
        outcome = outcome.max(send(client, names, chunk.documents).await?);
    }
    Ok(outcome)
}

#[derive(Default)]
struct Chunk {
    documents: Vec<BulkDocument>,
    bytes: usize,
}

impl Chunk {
    /// Takes documents until it is full.
    fn fill(
        documents: &mut impl Iterator<Item = SearchDocument>,
        format: DocumentFormat,
        partition: PartitionId,
    ) -> Self {
        let mut chunk = Self::default();
        while !chunk.is_full()
            && let Some(document) = documents.next()
        {
            chunk.push(BulkDocument::new(document, format, partition));
        }
        chunk
    }

    fn push(&mut self, document: BulkDocument) {
        self.bytes += document.lines.len();
        self.documents.push(document);
    }

    fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES || self.documents.len() >= MAX_DOCUMENTS
    }
}

impl BulkDocument {
    fn new(document: SearchDocument, format: DocumentFormat, partition: PartitionId) -> Self {
        let SearchDocument { chat, number, body, author, offset, created_at } = document;
        let routing = routing_key(chat);
        let action = json!({"create": {"_id": format!("{routing}:{number}"), "routing": routing}});
        let folded = to_indexed(&fold(format.folding, &body));
        let mut source = json!({"chat": routing, "number": number, "body": body, "folded": folded});
        if format.names_event {
            let (partition, offset) = (partition.0, offset.0);
            source["event"] = json!({"partition": partition, "offset": offset, "created_at_ms": created_at.0});
            if let Some(author) = author {
                // The mapping is strict, but for the members of the event, which nobody searches for.
                source["event"]["author"] = json!(author);
            }
        }
        Self { chat, number, lines: format!("{action}\n{source}\n").into_bytes() }
    }
}

/// What the index needs to know of a folded text: which trigrams it has, and with them which shorter pieces. Of a long text
/// that repeats itself the server gets each trigram once. It would otherwise take seconds for a text that folding has made
/// eighteen times as long.
fn to_indexed(folded: &str) -> Value {
    if folded.len() >= MIN_LONG_BYTES {
        let trigrams = distinct_trigrams(folded);
        // As JSON, with quotes and a comma.
        let bytes: usize = trigrams.iter().map(|trigram| trigram.len() + 3).sum();
        if bytes < folded.len() {
            return json!(trigrams);
        }
    }
    json!(folded)
}

/// Sends documents until the server has all of them. A retry sends only those that the server had no room for.
async fn send(
    client: &ElasticClient,
    names: &IndexNames,
    documents: Vec<BulkDocument>,
) -> Result<BulkOutcome, ElasticError> {
    let send_rest = |mut upload: Upload| async move {
        let result = send_once(client, names, &mut upload).await;
        (upload, result)
    };
    let (upload, result) = send_rest
        .retry(RETRIES)
        .context(Upload { documents, outcome: BulkOutcome::AllCreated })
        .when(|error| matches!(error, ElasticError::Busy { .. }))
        .notify(|error, pause| {
            if let ElasticError::Busy { documents, reason, .. } = error {
                tracing::warn!(documents, reason, ?pause, "Elasticsearch has no room for documents; retrying");
            }
        })
        .await;
    result.map(|()| upload.outcome)
}

/// Sends the documents once. Those that the server had no room for stay in `upload`, and the result is
/// [`ElasticError::Busy`] with the reason for the first of them.
async fn send_once(client: &ElasticClient, names: &IndexNames, upload: &mut Upload) -> Result<(), ElasticError> {
    let busy = |documents, reason| ElasticError::Busy { documents, attempts: ATTEMPTS, reason };
    let path = format!("{}/_bulk", names.write_alias);
    let query = [
        ("require_alias", "true"),
        ("timeout", SERVER_BULK_TIMEOUT),
        ("filter_path", "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by,error"),
    ];
    let lines: Vec<_> = upload.documents.iter().map(|document| document.lines.as_slice()).collect();
    let body = Body::Lines(lines.concat());
    let request = Request { method: Method::Post, path: &path, query: &query, body, timeout: BULK_TIMEOUT };
    let reply = client.send(request).await?;
    if reply.status == TOO_MANY_REQUESTS {
        return Err(busy(upload.documents.len(), reply.to_error().to_string()));
    }
    let BulkReply { items } = reply.expect_success()?.json()?;
    if items.len() != upload.documents.len() {
        let reason = format!("{} results for {} documents", items.len(), upload.documents.len());
        return Err(ElasticError::Unreadable { reason });
    }
    let mut first_rejection = None;
    for (document, item) in std::mem::take(&mut upload.documents).into_iter().zip(items) {
        let ItemResult { status, error } = item.create;
        let reason = || error.as_ref().map_or_else(|| "no reason given".to_owned(), ErrorCause::describe);
        match status {
            200..300 => {}
            CONFLICT => upload.outcome = BulkOutcome::SomeExisted,
            TOO_MANY_REQUESTS => {
                first_rejection.get_or_insert_with(reason);
                upload.documents.push(document);
            }
            _ if error.as_ref().is_some_and(ErrorCause::is_missing_index) => {
                return Err(ElasticError::Missing { reason: reason() });
            }
            _ if error.as_ref().is_some_and(ErrorCause::is_write_block) => {
                return Err(ElasticError::Blocked { reason: reason() });
            }
            _ => {
                let document = format!("message {} of chat {}", document.number, document.chat);
                return Err(ElasticError::Document { document, status, reason: reason() });
            }
        }
    }
    first_rejection.map_or(Ok(()), |reason| Err(busy(upload.documents.len(), reason)))
}
