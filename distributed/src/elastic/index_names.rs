//! Names on the server: of indices, which all begin with one prefix, and of chats.

use events::ChatKey;

/// The names of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexNames {
    pub(super) generation: u32,
    /// The index, for reads.
    pub(super) index: String,
    /// An alias of the index, for writes. It exists only together with the index. A write that requires an alias cannot
    /// create an index of another mapping in the place of one that was deleted.
    pub(super) write_alias: String,
}

impl IndexNames {
    pub(super) fn new(prefix: &str, generation: u32) -> Self {
        let index = format!("{prefix}-{generation}");
        Self { generation, write_alias: format!("{index}-writes"), index }
    }
}

/// The index that holds the pointer to the live generation.
pub(super) fn pointer_index(prefix: &str) -> String {
    format!("{prefix}-pointer")
}

/// Names the chat in its documents, and decides on their shard.
pub(super) fn routing_key(chat: ChatKey) -> String {
    format!("{}:{}", chat.token.to_hex(), chat.number)
}
