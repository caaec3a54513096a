//! The pointer: the document that names the live generation. It also has the generation that is being built and the former ones, so
//! that one conditional update moves all of them.

use elasticsearch::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{BULK_TIMEOUT, Body, ElasticClient, QUICK_TIMEOUT, Request, SERVER_BULK_TIMEOUT, SERVER_TIMEOUT};
use super::document_version::DocumentVersion;
use super::error::ElasticError;
use super::index_mapping;
use super::index_names::pointer_index;
use super::index_version::IndexVersion;

/// Id of the document.
const ID: &str = "live";

/// What the document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pointer {
    /// The live generation.
    pub(super) generation: u32,
    /// Its version. Absent in what earlier releases wrote.
    #[serde(default = "IndexVersion::first")]
    pub(super) version: IndexVersion,
    /// Absent if no release that rebuilds has written it.
    #[serde(default)]
    pub(super) generations: Others,
}

/// The generations that are not live.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Others {
    /// The last number that was given to a generation.
    pub(super) last: u32,
    pub(super) built: Option<Built>,
    pub(super) former: Vec<Former>,
    /// Whether an operator has paused `search`. Absent if no release that pauses has written it.
    #[serde(default)]
    pub(super) is_paused: bool,
}

/// The generation that is being built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Built {
    pub(super) generation: u32,
    /// Its version. Absent in what earlier releases wrote.
    #[serde(default = "IndexVersion::first")]
    pub(super) version: IndexVersion,
    /// Identifies the process that builds it. Empty once that process has left it to others.
    pub(super) owner: String,
    /// The owner raises it. Who sees the same beat for as long as a lease lasts knows that the owner is away, whatever the clocks.
    pub(super) beat: u64,
}

impl Built {
    /// Leaves the generation to whoever comes next.
    pub(super) fn release(&mut self) {
        self.owner.clear();
    }

    /// Whether its process has left it to others.
    pub(super) const fn is_released(&self) -> bool {
        self.owner.is_empty()
    }
}

/// A generation that was live, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former {
    pub(super) generation: u32,
    /// When, by the clock of the process that replaced it.
    pub(super) replaced_at_ms: u64,
}

/// A state of the document.
#[derive(Debug, Clone)]
pub(super) struct PointerState {
    pub(super) pointer: Pointer,
    pub(super) version: DocumentVersion,
}

/// What readers and writers need to know of the live generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) generation: u32,
    pub(super) version: IndexVersion,
    pub(super) is_paused: bool,
}

#[derive(Deserialize)]
struct Document {
    found: bool,
    #[serde(rename = "_source")]
    source: Option<Pointer>,
    #[serde(rename = "_seq_no")]
    seq_no: Option<u64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<u64>,
}

/// The live generation; `None` before the first.
pub(super) async fn read_live(client: &ElasticClient, prefix: &str) -> Result<Option<Live>, ElasticError> {
    let document = read_document(client, prefix).await?;
    let pointer = document.and_then(|document| document.source);
    Ok(pointer.map(|Pointer { generation, version, generations }| Live {
        generation,
        version,
        is_paused: generations.is_paused,
    }))
}

/// The pointer; `None` before the first generation.
pub(super) async fn read(client: &ElasticClient, prefix: &str) -> Result<Option<PointerState>, ElasticError> {
    let Some(Document { source: Some(pointer), seq_no, primary_term, .. }) = read_document(client, prefix).await?
    else {
        return Ok(None);
    };
    match (seq_no, primary_term) {
        (Some(seq_no), Some(primary_term)) => {
            Ok(Some(PointerState { pointer, version: DocumentVersion { seq_no, primary_term } }))
        }
        _ => Err(ElasticError::Unreadable { reason: "a pointer without version".to_owned() }),
    }
}

async fn read_document(client: &ElasticClient, prefix: &str) -> Result<Option<Document>, ElasticError> {
    let path = format!("{}/_doc/{ID}", pointer_index(prefix));
    let reply = client.send(Request::get(&path)).await?;
    if reply.status == 404 && reply.cause().is_some_and(|cause| cause.is_missing_index()) {
        return Ok(None);
    }
    let reply = if reply.status == 404 { reply } else { reply.expect_success()? };
    let document: Document = reply.json()?;
    Ok(Some(document).filter(|document| document.found))
}

/// Creates the pointer, unless another process has done so.
pub(super) async fn create(client: &ElasticClient, prefix: &str, live: Live) -> Result<(), ElasticError> {
    let path = format!("{}/_create/{ID}", pointer_index(prefix));
    let query = [("timeout", SERVER_TIMEOUT)];
    let body = Body::Json(json!({"generation": live.generation, "version": live.version}));
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    let reply = client.send(request).await?;
    if reply.status == 409 { Ok(()) } else { reply.expect_success().map(drop) }
}

/// Writes the pointer, unless somebody has written it since `version`. Returns the new version, or `None`.
pub(super) async fn update(
    client: &ElasticClient,
    prefix: &str,
    pointer: &Pointer,
    version: DocumentVersion,
) -> Result<Option<DocumentVersion>, ElasticError> {
    let path = format!("{}/_doc/{ID}", pointer_index(prefix));
    let condition = version.to_condition();
    let [seq_no, primary_term] = condition.query();
    let query = [("timeout", SERVER_TIMEOUT), seq_no, primary_term];
    let body = Body::Json(json!(pointer));
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    let reply = client.send(request).await?;
    if reply.status == 409 { Ok(None) } else { reply.expect_success()?.json().map(Some) }
}

/// Lets the pointer's index take everything that [`Pointer`] has, also if an earlier release has made it.
pub(super) async fn extend_mapping(client: &ElasticClient, prefix: &str) -> Result<(), ElasticError> {
    let path = format!("{}/_mapping", pointer_index(prefix));
    let query = [("timeout", SERVER_BULK_TIMEOUT), ("master_timeout", SERVER_BULK_TIMEOUT)];
    let body = Body::Json(index_mapping::pointer_additions());
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: BULK_TIMEOUT };
    client.send(request).await?.expect_success().map(drop)
}
