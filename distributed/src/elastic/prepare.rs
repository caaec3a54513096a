//! Prepares the server for the first batch: checks its version, and creates the live generation's index and the
//! pointer.

use std::collections::HashMap;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::{BULK_TIMEOUT, Body, ElasticClient, Request, SERVER_BULK_TIMEOUT};
use super::error::{ElasticError, PrepareError};
use super::index_names::{IndexNames, pointer_index};
use super::index_version::IndexVersion;
use super::pointer::Live;
use super::redact::redact;
use super::{index_mapping, pointer};

const FIRST_GENERATION: u32 = 1;

/// Oldest supported version.
const OLDEST_VERSION: (u32, u32) = (7, 17);

#[derive(Deserialize)]
struct Root {
    version: Version,
    tagline: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    /// OpenSearch and products derived from it give their name here; Elasticsearch leaves it out.
    distribution: Option<String>,
}

/// See [`super::ElasticIndex::prepare`].
pub(super) async fn prepare(client: &ElasticClient, prefix: &str) -> Result<(), PrepareError> {
    check_server(client).await?;
    // The index comes before the pointer, so that the pointer never names an index that is not there.
    if let Some(Live { generation, version, .. }) = pointer::read_live(client, prefix).await? {
        // A lost index of a version that this program does not know gets its documents from a program that does.
        prepare_index(client, &IndexNames::new(prefix, generation), version.known_or_current()).await?;
        return Ok(());
    }
    let names = IndexNames::new(prefix, FIRST_GENERATION);
    // The index may be an old one whose pointer was lost.
    let version = prepare_index(client, &names, IndexVersion::CURRENT).await?;
    create_index(client, &pointer_index(prefix), index_mapping::pointer_index()).await?;
    pointer::extend_mapping(client, prefix).await?;
    pointer::create(client, prefix, Live { generation: FIRST_GENERATION, version, is_paused: false }).await?;
    Ok(())
}

/// Creates the index of a generation by this version if it is missing, and checks one that is there. Returns its version.
pub(super) async fn prepare_index(
    client: &ElasticClient,
    names: &IndexNames,
    version: IndexVersion,
) -> Result<IndexVersion, PrepareError> {
    create_index(client, &names.index, index_mapping::message_index(&names.write_alias, version)).await?;
    check_index(client, names).await
}

async fn check_server(client: &ElasticClient) -> Result<(), PrepareError> {
    let Root { version, tagline } = client.fetch_json(Request::get("")).await?;
    if let Some(product) = version.distribution {
        return Err(PrepareError::OtherProduct { product: redact(&product) });
    }
    if tagline.as_deref() != Some("You Know, for Search") {
        return Err(PrepareError::OtherProduct { product: "something else".to_owned() });
    }
    if parse_version(&version.number).is_none_or(|found| found < OLDEST_VERSION) {
        return Err(PrepareError::TooOld { version: redact(&version.number) });
    }
    Ok(())
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Creates an index, unless one of that name exists.
async fn create_index(client: &ElasticClient, index: &str, definition: Value) -> Result<(), ElasticError> {
    let query = [("timeout", SERVER_BULK_TIMEOUT), ("master_timeout", SERVER_BULK_TIMEOUT)];
    let body = Body::Json(definition);
    let request = Request { method: Method::Put, path: index, query: &query, body, timeout: BULK_TIMEOUT };
    let reply = client.send(request).await?;
    let exists =
        reply.status == 400 && reply.cause().is_some_and(|cause| cause.kind == "resource_already_exists_exception");
    if exists { Ok(()) } else { reply.expect_success().map(drop) }
}

/// Checks that an index has our layout. Returns its version.
async fn check_index(client: &ElasticClient, names: &IndexNames) -> Result<IndexVersion, PrepareError> {
    let index = &names.index;
    let described: HashMap<String, Value> = client.fetch_json(Request::get(index)).await?;
    let to_error = |difference| PrepareError::OtherLayout { index: index.clone(), difference };
    // The server describes an alias under the name of its index.
    let described = described.get(index).ok_or_else(|| to_error("it is an alias".to_owned()))?;
    match index_mapping::find_difference(described, &names.write_alias) {
        None => Ok(index_mapping::find_version(described)),
        Some(difference) => Err(to_error(redact(&difference))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_enough) in
            [("7.17.29", true), ("7.9.3", false), ("8.0.0-rc1", true), ("10.0.0", true), ("6.8.0", false), ("x", false)]
        {
            assert_eq!(parse_version(version).is_some_and(|found| found >= OLDEST_VERSION), is_enough, "{version}");
        }
    }
}
