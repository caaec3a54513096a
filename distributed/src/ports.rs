//! The port that the sequencer needs and MySQL implements.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, PartitionId, Position, RequestKey, StreamKey};
use read_model::Checkpoint;

/// The checkpoint of each partition. A partition of which nothing was projected is left out.
pub type Checkpoints = BTreeMap<PartitionId, Checkpoint>;

/// A value of `counts` and the checkpoints of the same state. Read separately, the two prove nothing: between two reads the
/// tables of `counts` may be emptied for a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsSnapshot<T> {
    pub checkpoints: Checkpoints,
    pub value: T,
}

/// Reads the projection `counts`. Each call reads one consistent state.
#[async_trait]
pub trait CountsReader: Send + Sync {
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError>;

    /// The last chat number of an application, 0 before the first chat; `None` if there is no such application.
    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError>;

    /// The last message number of a chat, 0 before the first message; `None` if there is no such chat.
    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError>;

    /// The latest event of a request with this key (the hash of route and key), unless the key is forgotten.
    async fn find_request(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
    ) -> Result<CountsSnapshot<Option<IdempotencyRecord>>, BackendError>;
}

/// The outcome of a request that had an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key, and the hash of the values that were sent with it.
    pub request: RequestKey,
    /// The stream of the request's event.
    pub stream: StreamKey,
    /// The number that the request received, if events of its type have one.
    pub number: Option<Number>,
    /// Covers the request's event.
    pub position: Position,
}
