//! Checkpoints of the index: one document for each partition, in the index that it describes, so that neither exists
//! without the other. A read by id sees every write at once. A write requires that nobody has written the document
//! since the read.
//!
//! A document also has the note of a partition that stands still, until the checkpoint moves or its projector goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use elasticsearch::http::Method;
use events::{Epoch, KnownRecord, LogId, Offset, PartitionId, Position, RecordId};
use read_model::{Applied, Checkpoint, CheckpointMove, Projection, StandsStill};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Body, ElasticClient, ErrorCause, QUICK_TIMEOUT, Request, SERVER_TIMEOUT};
use super::document_version::DocumentVersion;
use super::error::ElasticError;
use super::index_names::IndexNames;

/// The ids of checkpoints begin with this text; the partition's number follows.
const ID_PREFIX: &str = "checkpoint:";
/// The partition with the log's first record, by which the log is recognised.
const FIRST_PARTITION: PartitionId = PartitionId(0);
/// Most checkpoints of an index. A log has far fewer partitions, and a server returns as many documents at once.
const MAX_CHECKPOINTS: usize = 10_000;

/// A checkpoint, and the version of its document.
pub(super) struct StoredCheckpoint {
    pub(super) checkpoint: Checkpoint,
    /// `None` if there is no document yet.
    pub(super) version: Option<DocumentVersion>,
    /// Whether the document notes that the partition stands still.
    pub(super) is_stopped: bool,
}

#[derive(Deserialize)]
struct Source {
    checkpoint: Fields,
}

#[derive(Deserialize)]
struct Fields {
    next: u64,
    epoch: u64,
    /// Why the partition stands still here.
    stopped: Option<String>,
    /// Absent in documents of earlier releases, which also drop it.
    record: Option<RecordFields>,
    /// As `record`.
    log: Option<Id>,
}

#[derive(Deserialize)]
struct RecordFields {
    offset: u64,
    id: Id,
}

/// An identity, as text.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Id(Uuid);

impl TryFrom<String> for Id {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(Self)
    }
}

#[derive(Deserialize)]
struct Lookup {
    found: bool,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_seq_no")]
    seq_no: Option<u64>,
    #[serde(rename = "_primary_term")]
    primary_term: Option<u64>,
    #[serde(rename = "_source")]
    source: Option<Source>,
    error: Option<ErrorCause>,
}

/// A document with everything in it, also what this release does not know.
#[derive(Deserialize)]
struct RawDocument {
    #[serde(rename = "_source")]
    source: RawSource,
    #[serde(rename = "_seq_no")]
    seq_no: u64,
    #[serde(rename = "_primary_term")]
    primary_term: u64,
}

#[derive(Deserialize)]
struct RawSource {
    checkpoint: Value,
}

#[derive(Deserialize)]
struct Documents {
    docs: Vec<Document>,
}

#[derive(Deserialize)]
struct Found {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Total {
    value: usize,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source")]
    source: Source,
}

/// The checkpoint of a partition; the start if there is no document. Of that only the log may be known.
pub(super) async fn read(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
) -> Result<StoredCheckpoint, ElasticError> {
    if let Some(stored) = find_one(client, names, partition).await? {
        return Ok(stored);
    }
    // Where the log has its first record, an index of it has a checkpoint.
    let first = if partition == FIRST_PARTITION { None } else { find_one(client, names, FIRST_PARTITION).await? };
    let checkpoint = Checkpoint { log: first.and_then(|first| first.checkpoint.log), ..Checkpoint::START };
    Ok(StoredCheckpoint { checkpoint, version: None, is_stopped: false })
}

async fn find_one(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
) -> Result<Option<StoredCheckpoint>, ElasticError> {
    let path = format!("{}/_doc/{}", names.index, document_id(partition));
    let reply = client.send(Request::get(&path)).await?;
    // Any other 404 is an error: a missing index, or a proxy that does not know the path.
    if reply.status == 404 && reply.json().is_ok_and(|Lookup { found }| !found) {
        return Ok(None);
    }
    let document: Document = reply.expect_success()?.json()?;
    match (document.source, document.seq_no, document.primary_term) {
        (Some(source), Some(seq_no), Some(primary_term)) => {
            let version = Some(DocumentVersion { seq_no, primary_term });
            let is_stopped = source.checkpoint.stopped.is_some();
            Ok(Some(StoredCheckpoint { checkpoint: source.checkpoint.checkpoint(), version, is_stopped }))
        }
        _ => Err(ElasticError::Unreadable { reason: "a checkpoint without source or version".to_owned() }),
    }
}

/// The position that the index has reached in `partitions`.
pub(super) async fn read_position(
    client: &ElasticClient,
    names: &IndexNames,
    partitions: &BTreeSet<PartitionId>,
    timeout: Duration,
) -> Result<Position, ElasticError> {
    let mut position = Position::default();
    for (partition, fields) in read_several(client, names, partitions, timeout).await? {
        position.merge(&Position::up_to(partition, fields.checkpoint().next));
    }
    Ok(position)
}

/// Finds one of `partitions` that stands still.
pub(super) async fn find_stop(
    client: &ElasticClient,
    names: &IndexNames,
    partitions: &BTreeSet<PartitionId>,
) -> Result<Option<StandsStill>, ElasticError> {
    let stored = read_several(client, names, partitions, QUICK_TIMEOUT).await?;
    let mut stops = stored.into_iter().filter_map(|(partition, fields)| Some((partition, fields.stopped?)));
    Ok(stops.next().map(|(partition, reason)| StandsStill { projection: Projection::Search, partition, reason }))
}

/// The documents of those of `partitions` that have one.
async fn read_several(
    client: &ElasticClient,
    names: &IndexNames,
    partitions: &BTreeSet<PartitionId>,
    timeout: Duration,
) -> Result<Vec<(PartitionId, Fields)>, ElasticError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let path = format!("{}/_mget", names.index);
    let body = Body::Json(json!({"ids": partitions.iter().copied().map(document_id).collect::<Vec<_>>()}));
    let request = Request { method: Method::Post, path: &path, query: &[], body, timeout };
    let Documents { docs } = client.fetch_json(request).await?;
    let mut stored = Vec::new();
    for document in docs {
        if let Some(cause) = document.error {
            return Err(cause.to_error(200));
        }
        if let (true, Some(source), Some(partition)) =
            (document.found, document.source, parse_document_id(&document.id))
        {
            stored.push((partition, source.checkpoint));
        }
    }
    Ok(stored)
}

/// The checkpoints of everything that an index has. Refreshes the index before it looks for them: call it while nobody writes.
pub(super) async fn read_all(
    client: &ElasticClient,
    names: &IndexNames,
) -> Result<BTreeMap<PartitionId, Checkpoint>, ElasticError> {
    let refresh = format!("{}/_refresh", names.index);
    let (query, timeout) = (&[][..], QUICK_TIMEOUT);
    client
        .send(Request { method: Method::Post, path: &refresh, query, body: Body::Empty, timeout })
        .await?
        .expect_success()?;
    find(client, names).await
}

/// Searches for the checkpoints, since nobody knows their partitions. They are as of the last refresh.
pub(super) async fn find(
    client: &ElasticClient,
    names: &IndexNames,
) -> Result<BTreeMap<PartitionId, Checkpoint>, ElasticError> {
    let (query, timeout) = (&[][..], QUICK_TIMEOUT);
    let path = format!("{}/_search", names.index);
    let body = Body::Json(json!({
        "size": MAX_CHECKPOINTS, "track_total_hits": true, "_source": ["checkpoint"],
        "query": {"bool": {"must_not": {"exists": {"field": "chat"}}}},
    }));
    let Found { hits } = client.fetch_json(Request { method: Method::Post, path: &path, query, body, timeout }).await?;
    if hits.total.value > MAX_CHECKPOINTS {
        let reason = format!("{} documents are no messages", hits.total.value);
        return Err(ElasticError::Unreadable { reason });
    }
    let found = hits.hits.iter();
    let found = found.filter_map(|hit| Some((parse_document_id(&hit.id)?, hit.source.checkpoint.checkpoint())));
    Ok(found.collect())
}

/// Moves a checkpoint, unless somebody has moved it since it was read.
pub(super) async fn advance(
    client: &ElasticClient,
    names: &IndexNames,
    checkpoint_move: CheckpointMove,
    version: Option<DocumentVersion>,
) -> Result<Applied, ElasticError> {
    write(client, names, checkpoint_move.partition, version, to_fields(checkpoint_move.to)).await
}

/// Notes why a partition stands still at its checkpoint, unless somebody has moved the checkpoint since it was read.
pub(super) async fn note_stop(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
    stored: StoredCheckpoint,
    reason: &str,
) -> Result<Applied, ElasticError> {
    let mut fields = to_fields(stored.checkpoint);
    fields["stopped"] = json!(StandsStill::shorten_reason(reason));
    write(client, names, partition, stored.version, fields).await
}

/// Writes the checkpoint of a partition without a note, unless somebody has moved it since it was read.
pub(super) async fn clear_stop(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
    stored: StoredCheckpoint,
) -> Result<Applied, ElasticError> {
    write(client, names, partition, stored.version, to_fields(stored.checkpoint)).await
}

/// Writes a checkpoint as it is. A batch that has read it before does not move it any more.
pub(super) async fn rewrite(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
) -> Result<Applied, ElasticError> {
    let path = format!("{}/_doc/{}", names.index, document_id(partition));
    let RawDocument { source, seq_no, primary_term } = client.fetch_json(Request::get(&path)).await?;
    let version = Some(DocumentVersion { seq_no, primary_term });
    write(client, names, partition, version, source.checkpoint).await
}

async fn write(
    client: &ElasticClient,
    names: &IndexNames,
    partition: PartitionId,
    version: Option<DocumentVersion>,
    fields: Value,
) -> Result<Applied, ElasticError> {
    let id = document_id(partition);
    let alias = &names.write_alias;
    let mut query = vec![("require_alias", "true"), ("timeout", SERVER_TIMEOUT)];
    let condition = version.map(DocumentVersion::to_condition);
    let path = match &condition {
        None => format!("{alias}/_create/{id}"),
        Some(condition) => {
            query.extend(condition.query());
            format!("{alias}/_doc/{id}")
        }
    };
    let body = Body::Json(json!({"checkpoint": fields}));
    let request = Request { method: Method::Put, path: &path, query: &query, body, timeout: QUICK_TIMEOUT };
    let reply = client.send(request).await?;
    if reply.status == 409 { Ok(Applied::Superseded) } else { reply.expect_success().map(|_| Applied::Done) }
}

fn to_fields(Checkpoint { next, epoch, record, log }: Checkpoint) -> Value {
    let record = record.map(|record| json!({"offset": record.offset.0, "id": record.id.to_string()}));
    json!({"next": next.0, "epoch": epoch.0, "record": record, "log": log.map(|log| log.to_string())})
}

fn document_id(partition: PartitionId) -> String {
    format!("{ID_PREFIX}{partition}")
}

/// Whether this is the id of a checkpoint, and not of a message.
pub(super) fn is_document_id(id: &str) -> bool {
    parse_document_id(id).is_some()
}

/// The partition whose checkpoint has this id.
fn parse_document_id(id: &str) -> Option<PartitionId> {
    id.strip_prefix(ID_PREFIX)?.parse().ok().map(PartitionId)
}

impl Fields {
    fn checkpoint(&self) -> Checkpoint {
        let record = self.record.as_ref();
        Checkpoint {
            next: Offset(self.next),
            epoch: Epoch(self.epoch),
            record: record.map(|record| KnownRecord { offset: Offset(record.offset), id: RecordId(record.id.0) }),
            log: self.log.as_ref().map(|log| LogId(log.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_partition() {
        for partition in [PartitionId(0), PartitionId(11), PartitionId(u16::MAX)] {
            assert_eq!(parse_document_id(&document_id(partition)), Some(partition));
        }
        for other in ["checkpoint:", "checkpoint:65536", "checkpoint:x", "3"] {
            assert_eq!(parse_document_id(other), None, "{other}");
        }
    }
}
