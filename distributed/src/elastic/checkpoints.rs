//! How far an index has come: a document a partition, in the index that it describes, so that neither is ever there
//! without the other. It is read by its id, which sees every write at once, and written on condition that nobody else has
//! written it since.

use std::collections::BTreeSet;
use std::time::Duration;

use elasticsearch::http::Method;
use events::{Epoch, Offset, PartitionId, Position};
use read_model::{Applied, Checkpoint, CheckpointMove};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Body, Cause, QUICK, Request, SERVER_WAITS, Server};
use super::error::ElasticError;
use super::generation::Generation;

/// What the ids of checkpoints begin with; the partition's number follows.
const ID: &str = "checkpoint:";

/// A checkpoint, and the state of its document.
pub(super) struct Stored {
    pub(super) checkpoint: Checkpoint,
    pub(super) version: Option<DocumentVersion>,
}

/// Which write of a document it was; `None` in its place means that there is no document yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct DocumentVersion {
    seq_no: u64,
    primary_term: u64,
}

#[derive(Serialize, Deserialize)]
struct Source {
    checkpoint: Fields,
}

#[derive(Serialize, Deserialize)]
struct Fields {
    next: u64,
    epoch: u64,
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
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Documents {
    docs: Vec<Document>,
}

/// The checkpoint of a partition; that of the start where there is no document.
pub(super) async fn read(
    server: &Server,
    generation: &Generation,
    partition: PartitionId,
) -> Result<Stored, ElasticError> {
    let path = format!("{}/_doc/{}", generation.index, id(partition));
    let request = Request { method: Method::Get, path: &path, query: &[], body: Body::Empty, time_out: QUICK };
    let reply = server.send(request).await?;
    // Whatever else is not found, an index or a path that somebody in between does not know, is no start.
    if reply.status == 404 && reply.json().is_ok_and(|Lookup { found }| !found) {
        return Ok(Stored { checkpoint: Checkpoint::START, version: None });
    }
    let document: Document = reply.expect_success()?.json()?;
    match (document.source, document.seq_no, document.primary_term) {
        (Some(source), Some(seq_no), Some(primary_term)) => {
            let checkpoint = source.checkpoint();
            Ok(Stored { checkpoint, version: Some(DocumentVersion { seq_no, primary_term }) })
        }
        _ => Err(ElasticError::Unreadable { reason: "a checkpoint without source or version".to_owned() }),
    }
}

/// How far the index has come in some partitions.
pub(super) async fn read_all(
    server: &Server,
    index: &str,
    partitions: &BTreeSet<PartitionId>,
    time_out: Duration,
) -> Result<Position, ElasticError> {
    let mut position = Position::default();
    if partitions.is_empty() {
        return Ok(position);
    }
    let path = format!("{index}/_mget");
    let body = Body::Json(json!({"ids": partitions.iter().copied().map(id).collect::<Vec<_>>()}));
    let request = Request { method: Method::Post, path: &path, query: &[], body, time_out };
    let Documents { docs } = server.ask(request).await?;
    for document in docs {
        if let Some(cause) = document.error {
            return Err(cause.refused(200));
        }
        if let (true, Some(source), Some(partition)) = (document.found, document.source, partition(&document.id)) {
            position.merge(&Position::up_to(partition, source.checkpoint().next));
        }
    }
    Ok(position)
}

/// Moves a checkpoint that nobody has moved since it was read.
pub(super) async fn advance(
    server: &Server,
    generation: &Generation,
    checkpoint_move: CheckpointMove,
    version: Option<DocumentVersion>,
) -> Result<Applied, ElasticError> {
    let (id, writes) = (id(checkpoint_move.partition), &generation.writes);
    let mut query = vec![("require_alias", "true"), ("timeout", SERVER_WAITS)];
    let condition = version.map(|version| (version.seq_no.to_string(), version.primary_term.to_string()));
    let path = match &condition {
        None => format!("{writes}/_create/{id}"),
        Some((seq_no, primary_term)) => {
            query.extend([("if_seq_no", seq_no.as_str()), ("if_primary_term", primary_term.as_str())]);
            format!("{writes}/_doc/{id}")
        }
    };
    let body = Body::Json(json!(Source::from(checkpoint_move.to)));
    let reply = server.send(Request { method: Method::Put, path: &path, query: &query, body, time_out: QUICK }).await?;
    if reply.status == 409 { Ok(Applied::Superseded) } else { reply.expect_success().map(|_| Applied::Done) }
}

fn id(partition: PartitionId) -> String {
    format!("{ID}{partition}")
}

/// Whose checkpoint has this id.
fn partition(id: &str) -> Option<PartitionId> {
    id.strip_prefix(ID)?.parse().ok().map(PartitionId)
}

impl Source {
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { next: Offset(self.checkpoint.next), epoch: Epoch(self.checkpoint.epoch) }
    }
}

impl From<Checkpoint> for Source {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { checkpoint: Fields { next: checkpoint.next.0, epoch: checkpoint.epoch.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_partition() {
        for partition in [PartitionId(0), PartitionId(11), PartitionId(u16::MAX)] {
            assert_eq!(super::partition(&id(partition)), Some(partition));
        }
        for other in ["checkpoint:", "checkpoint:65536", "checkpoint:x", "3"] {
            assert_eq!(super::partition(other), None, "{other}");
        }
    }
}
