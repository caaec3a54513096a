//! What must be there before the first batch: a server that can be used, the live generation's index, the pointer to it.

use std::collections::HashMap;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{BULK, Body, QUICK, Request, SERVER_WAITS, SERVER_WAITS_LONG, Server};
use super::error::{ElasticError, PrepareError, shown};
use super::generation::{FIRST, Generation, Generations, Pointer};
use super::index_mapping;

/// Oldest version that is used.
const OLDEST: (u32, u32) = (7, 17);

#[derive(Deserialize)]
struct Root {
    version: Version,
    tagline: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    /// OpenSearch and its kin say here what they are; Elasticsearch says nothing.
    distribution: Option<String>,
}

/// See [`super::ElasticIndex::prepare`].
pub(super) async fn prepare(server: &Server, generations: &Generations) -> Result<(), PrepareError> {
    check_server(server).await?;
    let live = generations.live(server).await?;
    // The index before its pointer: what the pointer names is there.
    let generation = generations.generation(live.unwrap_or(FIRST));
    create_index(server, &generation.index, index_mapping::messages(&generation.writes)).await?;
    check_index(server, &generation).await?;
    if live.is_none() {
        create_index(server, &generations.pointer_index(), index_mapping::pointer()).await?;
        create_pointer(server, generations, Pointer { generation: FIRST }).await?;
    }
    Ok(())
}

async fn check_server(server: &Server) -> Result<(), PrepareError> {
    let request = Request { method: Method::Get, path: "", query: &[], body: Body::Empty, time_out: QUICK };
    let Root { version, tagline } = server.ask(request).await?;
    if let Some(product) = version.distribution {
        return Err(PrepareError::OtherProduct { product: shown(&product) });
    }
    if tagline.as_deref() != Some("You Know, for Search") {
        return Err(PrepareError::OtherProduct { product: "something else".to_owned() });
    }
    if major_and_minor(&version.number).is_none_or(|found| found < OLDEST) {
        return Err(PrepareError::TooOld { version: shown(&version.number) });
    }
    Ok(())
}

fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Makes an index unless there is one of that name.
async fn create_index(server: &Server, index: &str, made_of: Value) -> Result<(), ElasticError> {
    let query = [("timeout", SERVER_WAITS_LONG), ("master_timeout", SERVER_WAITS_LONG)];
    let body = Body::Json(made_of);
    let reply = server.send(Request { method: Method::Put, path: index, query: &query, body, time_out: BULK }).await?;
    let is_there =
        reply.status == 400 && reply.cause().is_some_and(|cause| cause.kind == "resource_already_exists_exception");
    if is_there { Ok(()) } else { reply.expect_success().map(drop) }
}

async fn check_index(server: &Server, generation: &Generation) -> Result<(), PrepareError> {
    let index = &generation.index;
    let request = Request { method: Method::Get, path: index, query: &[], body: Body::Empty, time_out: QUICK };
    let described: HashMap<String, Value> = server.ask(request).await?;
    let differs = |difference| PrepareError::OtherLayout { index: index.clone(), difference };
    // An alias of that name would be told under another one.
    let described = described.get(index).ok_or_else(|| differs("it is an alias".to_owned()))?;
    index_mapping::difference(described, &generation.writes)
        .map_or(Ok(()), |difference| Err(differs(shown(&difference))))
}

/// Writes the pointer unless somebody has.
async fn create_pointer(server: &Server, generations: &Generations, pointer: Pointer) -> Result<(), ElasticError> {
    let path = generations.pointer_path("_create");
    let query = [("timeout", SERVER_WAITS)];
    let body = Body::Json(json!(pointer));
    let reply = server.send(Request { method: Method::Put, path: &path, query: &query, body, time_out: QUICK }).await?;
    if reply.status == 409 { Ok(()) } else { reply.expect_success().map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_enough) in
            [("7.17.29", true), ("7.9.3", false), ("8.0.0-rc1", true), ("10.0.0", true), ("6.8.0", false), ("x", false)]
        {
            assert_eq!(major_and_minor(version).is_some_and(|found| found >= OLDEST), is_enough, "{version}");
        }
    }
}
