//! Reads all documents of an index, as they are when the scroll is opened.

use std::collections::BTreeMap;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checkpoints;
use super::client::{BULK_TIMEOUT, Body, ElasticClient, ErrorCause, QUICK_TIMEOUT, Request};
use super::error::ElasticError;
use super::index_names::IndexNames;

/// Documents of a page. The longest ones take 13 MiB.
const PAGE: u32 = 200;
/// For how long the server keeps the state of the index between two pages.
const KEEP_ALIVE: &str = "10m";

/// A document of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(rename = "_routing")]
    pub(super) routing: Option<String>,
    #[serde(rename = "_source")]
    pub(super) source: Value,
}

#[derive(Deserialize)]
struct ScrollReply {
    #[serde(rename = "_scroll_id")]
    scroll_id: String,
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Document>,
}

#[derive(Deserialize)]
struct LookupReply {
    docs: Vec<Lookup>,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source")]
    source: Option<Value>,
    error: Option<ErrorCause>,
}

/// An open scroll. [`Scroll::close`] frees what the server keeps for it, which otherwise goes after [`KEEP_ALIVE`].
pub(super) struct Scroll<'a> {
    client: &'a ElasticClient,
    id: String,
    page: Vec<Document>,
}

impl<'a> Scroll<'a> {
    /// Opens a scroll over everything that was written to the index before.
    pub(super) async fn open(client: &'a ElasticClient, names: &IndexNames) -> Result<Self, ElasticError> {
        let refresh = format!("{}/_refresh", names.index);
        let request =
            Request { method: Method::Post, path: &refresh, query: &[], body: Body::Empty, timeout: BULK_TIMEOUT };
        client.send(request).await?.expect_success()?;
        let path = format!("{}/_search", names.index);
        let query = [("scroll", KEEP_ALIVE), ("allow_partial_search_results", "false")];
        let body = Body::Json(json!({"size": PAGE, "sort": ["_doc"]}));
        let request = Request { method: Method::Post, path: &path, query: &query, body, timeout: BULK_TIMEOUT };
        let (id, page) = check(client.fetch_json(request).await?)?;
        Ok(Self { client, id, page })
    }

    /// The next documents, without those of checkpoints; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Document>>, ElasticError> {
        if self.page.is_empty() {
            return Ok(None);
        }
        let body = Body::Json(json!({"scroll": KEEP_ALIVE, "scroll_id": self.id}));
        let request = Request { method: Method::Post, path: "_search/scroll", query: &[], body, timeout: BULK_TIMEOUT };
        let (id, next) = check(self.client.fetch_json(request).await?)?;
        self.id = id;
        let mut page = std::mem::replace(&mut self.page, next);
        page.retain(|document| !checkpoints::is_document_id(&document.id));
        Ok(Some(page))
    }

    pub(super) async fn close(self) -> Result<(), ElasticError> {
        let body = Body::Json(json!({"scroll_id": self.id}));
        let request =
            Request { method: Method::Delete, path: "_search/scroll", query: &[], body, timeout: QUICK_TIMEOUT };
        self.client.send(request).await?.expect_success().map(drop)
    }
}

fn check(reply: ScrollReply) -> Result<(String, Vec<Document>), ElasticError> {
    if reply.timed_out || reply.shards.failed > 0 {
        let reason = format!("the documents of {} shards could not be read", reply.shards.failed);
        return Err(ElasticError::Refused { status: 200, reason });
    }
    Ok((reply.scroll_id, reply.hits.hits))
}

/// The contents of the documents with the ids of these, as an index has them now, by id.
pub(super) async fn look_up(
    client: &ElasticClient,
    names: &IndexNames,
    documents: &[Document],
) -> Result<BTreeMap<String, Value>, ElasticError> {
    if documents.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked: Vec<_> =
        documents.iter().map(|Document { id, routing, .. }| json!({"_id": id, "routing": routing})).collect();
    let path = format!("{}/_mget", names.index);
    let body = Body::Json(json!({ "docs": asked }));
    let request = Request { method: Method::Post, path: &path, query: &[], body, timeout: BULK_TIMEOUT };
    let LookupReply { docs } = client.fetch_json(request).await?;
    let mut found = BTreeMap::new();
    for Lookup { id, source, error } in docs {
        if let Some(cause) = error {
            return Err(cause.to_error(200));
        }
        found.extend(source.map(|source| (id, source)));
    }
    Ok(found)
}
