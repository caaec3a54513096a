//! The changes that a batch of events makes to each projection, as data. The projector computes them; the stores apply
//! them.

use std::collections::BTreeMap;

use events::{
    ApplicationToken, Author, ChatKey, EventId, MessageNumber, Number, Offset, RequestKey, StreamKey, UnixMillis,
};

use crate::access_rows::{KeyChange, VoidedUser};
use crate::counts::ChatCounts;
use crate::generations::GenerationNumber;

/// The event that a row comes from. Its partition is the partition of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceEvent {
    /// Identifies the event: applying the same event again changes nothing.
    pub event_id: EventId,
    /// The event's offset in its partition.
    pub offset: Offset,
}

/// The changes that a batch makes to `views`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewsChanges {
    /// New applications and renames, in log order.
    pub names: Vec<NameChange>,
    /// New chats, in log order. Two rows may have the same key; [`crate::views_writer`] resolves that conflict.
    pub chats: Vec<ChatRow>,
    /// New messages, in log order. Two rows may have the same key, as with chats.
    pub messages: Vec<MessageRow>,
    /// New and revoked keys, in log order.
    pub keys: Vec<KeyChange>,
    /// Users whose tokens were voided, in log order.
    pub voided: Vec<VoidedUser>,
    /// Events that cannot be shown.
    pub dead_letters: Vec<DeadLetter>,
    /// Dead letters, of this batch or an earlier one, that are counted no more. A store may not have all of them.
    pub discarded: Vec<Offset>,
}

/// The name that one event gives to an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// The application.
    pub token: ApplicationToken,
    /// Its name from this event on.
    pub name: String,
    /// The kind of event.
    pub origin: NameOrigin,
    /// The event.
    pub source: SourceEvent,
    /// When the event was made.
    pub occurred_at: UnixMillis,
}

/// The kind of event that a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrigin {
    /// The application's creation. Any rename replaces this name.
    Created,
    /// A rename. The rename with the highest offset wins.
    Renamed,
}

/// An application as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationRow {
    /// The application.
    pub token: ApplicationToken,
    /// The event that created it; `None` while the store has applied renames of it only.
    pub created_event: Option<EventId>,
    /// When that event was made. Also `None` in a row of version 1 of `views`.
    pub created_at: Option<UnixMillis>,
    /// The last event that changed the row. `None` in a row of version 1 of `views`.
    pub last_event: Option<Offset>,
    /// Its current name.
    pub name: String,
    /// 0 for the name from the creation; for a rename its offset plus 1. The name with the highest rank wins.
    pub name_rank: u64,
}

/// Identifies a rename by its application and event.
pub type Rename = (ApplicationToken, EventId);

/// A new chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    /// Its key.
    pub chat: ChatKey,
    /// The event that created it.
    pub source: SourceEvent,
    /// When the event was made.
    pub created_at: UnixMillis,
}

/// Identifies a message by its chat and its number in that chat.
pub type MessageKey = (ChatKey, MessageNumber);

/// A new message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// The chat that the message belongs to.
    pub chat: ChatKey,
    /// Its number in the chat.
    pub number: MessageNumber,
    /// Its text.
    pub body: String,
    /// Who it is from, if its event says so.
    pub author: Option<Author>,
    /// The event that posted it.
    pub source: SourceEvent,
    /// When the event was made.
    pub created_at: UnixMillis,
}

/// An event that cannot be shown. It stays in the log, and an operator has to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub source: SourceEvent,
    /// Why it cannot be shown; [`DeadLetter::MAX_REASON_CHARACTERS`] at most.
    pub reason: String,
}

impl DeadLetter {
    /// The longest reason that a store has to keep. A reason may quote the whole event, so the projector cuts it.
    pub const MAX_REASON_CHARACTERS: usize = 1_000;
}

/// A dead letter as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// The dead letter.
    pub letter: DeadLetter,
    /// Whether an operator has discarded it.
    pub is_discarded: bool,
}

/// The changes that a batch makes to `counts`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountsChanges {
    /// The new counts of each chat that changed.
    pub chats: BTreeMap<ChatKey, ChatCounts>,
    /// Increments for each application. They are increments because an application's chats come from all partitions.
    pub applications: BTreeMap<ApplicationToken, ApplicationCountsDelta>,
    /// Answers to requests that a client may send again, in log order.
    pub requests: Vec<AnsweredRequest>,
    /// The generation that the chats' former counts were loaded from. The store applies the changes to this generation or not at
    /// all, so that damaged counts do not get from one generation into another. `None` if the changes do not depend on it.
    pub loaded_from: Option<GenerationNumber>,
}

/// The answer to a request with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The request.
    pub request: RequestKey,
    /// The stream of its event; for an application's creation this is the reserved token.
    pub stream: StreamKey,
    /// The number that was reserved for the event, if its kind has one.
    pub number: Option<Number>,
    /// When the request was answered, by the writer's clock.
    pub occurred_at: UnixMillis,
    /// The event.
    pub source: SourceEvent,
}

/// An increment of an application's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplicationCountsDelta {
    /// Whether the batch creates the application.
    pub created: bool,
    /// Chats that were not counted before.
    pub chats: u32,
    /// The highest chat number in the batch; 0 if the batch has no chat.
    pub last_chat: u32,
}

/// A message as `search` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDocument {
    /// The chat that the message belongs to.
    pub chat: ChatKey,
    /// Its number in the chat.
    pub number: MessageNumber,
    /// Its text. The index folds it, by the version of the generation that it writes.
    pub body: String,
    /// Who it is from, if its event says so.
    pub author: Option<Author>,
    /// The event that posted it. Its partition is the partition of the batch.
    pub offset: Offset,
    /// When the event was made.
    pub created_at: UnixMillis,
}
