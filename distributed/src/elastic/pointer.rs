//! The pointer: the document that names the live generation. A rebuild will move it by one conditional update.

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{Body, ElasticClient, QUICK_TIMEOUT, Request, SERVER_TIMEOUT};
use super::error::ElasticError;
use super::index_names::pointer_index;

/// Id of the document.
const ID: &str = "live";

#[derive(Deserialize)]
struct Pointer {
    generation: u32,
}

#[derive(Deserialize)]
struct Document {
    found: bool,
    #[serde(rename = "_source")]
    source: Option<Pointer>,
}

/// The number of the live generation; `None` before the first.
pub(super) async fn read(client: &ElasticClient, prefix: &str) -> Result<Option<u32>, ElasticError> {
    let path = format!("{}/_doc/{ID}", pointer_index(prefix));
    let reply = client.send(Request::get(&path)).await?;
    if reply.status == 404 && reply.cause().is_some_and(|cause| cause.is_missing_index()) {
        return Ok(None);
    }
    let reply = if reply.status == 404 { reply } else { reply.expect_success()? };
    let document: Document = reply.json()?;
    match document.source {
        Some(pointer) if document.found => Ok(Some(pointer.generation)),
        _ => Ok(None),
    }
}

/// Creates the pointer, unless another process has done so.
pub(super) async fn create(client: &ElasticClient, prefix: &str, generation: u32) -> Result<(), ElasticError> {
    let path = format!("{}/_create/{ID}", pointer_index(prefix));
    let query = [("timeout", SERVER_TIMEOUT)];
    let body = Body::Json(json!({"generation": generation}));
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    let reply = client.send(request).await?;
    if reply.status == 409 { Ok(()) } else { reply.expect_success().map(drop) }
}
