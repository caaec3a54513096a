//! What the number server asks of the projection `counts`: which numbers and keys the log has.

use std::collections::BTreeMap;

use async_trait::async_trait;
use event_log::BackendError;
use events::{ApplicationToken, ChatKey, Number, PartitionId, Position, RequestKey, StreamKey, UnixMillis};
use read_model::Checkpoint;

/// What has been counted of each partition; those of which nothing was are left out.
pub type Checkpoints = BTreeMap<PartitionId, Checkpoint>;

/// An answer, and how far `counts` had come in that very state of it. One without the other says nothing: between two looks
/// at `counts` it may have been emptied, to be made anew from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsSnapshot<T> {
    /// How far it had come.
    pub checkpoints: Checkpoints,
    /// What it had.
    pub answer: T,
}

/// Reads `counts`. Each call sees one state of it.
#[async_trait]
pub trait CountsReader: Send + Sync {
    /// How far it has come.
    async fn checkpoints(&self) -> Result<Checkpoints, BackendError>;

    /// The last chat number of an application, 0 before the first; `None` if there is no such application.
    async fn last_chat(&self, token: ApplicationToken) -> Result<CountsSnapshot<Option<u32>>, BackendError>;

    /// The last message number of a chat, 0 before the first; `None` if there is no such chat.
    async fn last_message(&self, chat: ChatKey) -> Result<CountsSnapshot<Option<u32>>, BackendError>;

    /// What the request with this key (the hash of route and key) was given last, if that was after `since`.
    async fn answered(
        &self,
        key: &[u8; RequestKey::HASH_BYTES],
        since: UnixMillis,
    ) -> Result<CountsSnapshot<Option<Answered>>, BackendError>;
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
