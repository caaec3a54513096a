//! What the number server asks of the projection `counts`: which numbers and keys the log has.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, PartitionId, Position, RequestKey, StreamKey, UnixMillis};
use read_model::Checkpoint;

/// Reads `counts`. Each call sees one state of it.
#[async_trait]
pub trait TakenNumbers: Send + Sync {
    /// What has been counted of each partition; those of which nothing was are left out.
    async fn checkpoints(&self) -> Result<BTreeMap<PartitionId, Checkpoint>, BackendError>;

    /// The last chat number of an application, 0 before the first; `None` if there is no such application.
    async fn last_chat(&self, token: ApplicationToken) -> Result<Option<u32>, BackendError>;

    /// The last message number of a chat, 0 before the first; `None` if there is no such chat.
    async fn last_message(&self, chat: ChatKey) -> Result<Option<u32>, BackendError>;

    /// What the request with this key (the hash of route and key) was given last, if that was after `since`.
    async fn answered(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<Option<Answered>, BackendError>;
}

/// What a request with a key was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The request, with the values that were sent.
    pub request: RequestKey,
    /// The stream of its event.
    pub stream: StreamKey,
    /// The number that it was given, if its kind has one.
    pub number: Option<Number>,
    /// Covers its event.
    pub position: Position,
}
