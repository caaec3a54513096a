//! What a batch of events does to each projection, as data. The projector makes it, the stores carry it out.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use events::{ApplicationToken, ChatKey, EventId, MessageNumber, Number, Offset, RequestKey, StreamKey, UnixMillis};

use crate::counts::ChatCounts;

/// Which event a row comes from. The partition is that of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// Its identity: the same event met again changes nothing.
    pub event_id: EventId,
    /// Its place in the partition.
    pub offset: Offset,
}

/// What the batch does to `views`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewsChanges {
    /// New applications and names, in log order.
    pub names: Vec<NameChange>,
    /// New chats, in log order; a key may come twice, see [`settle`].
    pub chats: Vec<ChatRow>,
    /// New messages, in log order; a key may come twice, see [`settle`].
    pub messages: Vec<MessageRow>,
    /// Events that could not be shown.
    pub dead_letters: Vec<DeadLetter>,
}

/// An application's name as of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// Which application.
    pub token: ApplicationToken,
    /// The name.
    pub name: String,
    /// The kind of event.
    pub origin: NameOrigin,
    /// The event.
    pub place: LogPlace,
}

/// Where a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrigin {
    /// The application's creation: its name holds only until there is any other.
    Created,
    /// A rename: that with the highest offset holds.
    Renamed,
}

/// A chat that came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    /// Its key.
    pub chat: ChatKey,
    /// The event.
    pub place: LogPlace,
}

/// A message that came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// The chat that owns it.
    pub chat: ChatKey,
    /// Its number there.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
    /// The event.
    pub place: LogPlace,
}

/// An event that cannot be shown: it stays in the log, and operators are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub place: LogPlace,
    /// Why, in words.
    pub reason: String,
}

/// What the batch does to `counts`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountsChanges {
    /// The new state of each chat that changed.
    pub chats: BTreeMap<ChatKey, ChatCounts>,
    /// What is added to each application, whose chats come from all partitions.
    pub applications: BTreeMap<ApplicationToken, ApplicationCountsDelta>,
    /// Events of requests that may be sent again, in log order.
    pub requests: Vec<AnsweredRequest>,
}

/// What a request with a key was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// The request.
    pub request: RequestKey,
    /// The stream of its event; of an application's creation this is what was reserved.
    pub stream: StreamKey,
    /// The number that was reserved for it, if its kind has one.
    pub number: Option<Number>,
    /// When it was answered, as the writer told.
    pub occurred_at: UnixMillis,
    /// The event.
    pub place: LogPlace,
}

/// What is added to an application's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplicationCountsDelta {
    /// Whether its creation is among the events.
    pub created: bool,
    /// Chats that were not counted before.
    pub chats: u32,
    /// Highest chat number among the events; 0 for none.
    pub last_chat: u32,
}

/// A message as `search` keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDocument {
    /// The chat that owns the message.
    pub chat: ChatKey,
    /// Its number there.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
    /// The same, folded.
    pub folded: String,
}

/// A row that is known by a natural key and comes from one event.
pub trait Keyed {
    /// The natural key.
    type Key: Eq + Hash;
    /// This row's key.
    fn key(&self) -> Self::Key;
    /// The event that the row comes from.
    fn place(&self) -> LogPlace;
    /// What the row is, for the reason of a dead letter.
    fn describe(&self) -> String;
}

impl Keyed for ChatRow {
    type Key = ChatKey;

    fn key(&self) -> ChatKey {
        self.chat
    }

    fn place(&self) -> LogPlace {
        self.place
    }

    fn describe(&self) -> String {
        format!("chat {}", self.chat)
    }
}

impl Keyed for MessageRow {
    type Key = (ChatKey, MessageNumber);

    fn key(&self) -> Self::Key {
        (self.chat, self.number)
    }

    fn place(&self) -> LogPlace {
        self.place
    }

    fn describe(&self) -> String {
        format!("message {} of chat {}", self.number, self.chat)
    }
}

/// Keeps the rows whose key nobody has. `taken` tells the events of the rows that are there already.
///
/// A row of the same event as the one that is there is a duplicate and goes without a word. A row of another event is
/// a second thing under one number: the first in log order keeps it, the second becomes a dead letter.
pub fn settle<R: Keyed>(rows: Vec<R>, taken: &HashMap<R::Key, EventId>, dead_letters: &mut Vec<DeadLetter>) -> Vec<R> {
    let mut taken_here = HashMap::new();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let key = row.key();
        match taken.get(&key).or_else(|| taken_here.get(&key)) {
            None => {
                taken_here.insert(key, row.place().event_id);
                kept.push(row);
            }
            Some(first) if *first == row.place().event_id => {}
            Some(_) => dead_letters.push(DeadLetter {
                place: row.place(),
                reason: format!("another event is {} already", row.describe()),
            }),
        }
    }
    kept
}
