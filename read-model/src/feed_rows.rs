//! Which events of a batch the feed tells.

use std::collections::{HashMap, HashSet};

use events::{ApplicationToken, Author, ChatKey, MessageNumber, Offset, UnixMillis};

use crate::changes::{ChatRow, MessageKey, MessageRow, NameChange, NameOrigin};

/// An event that the feed tells. Its partition is the partition of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedRow<'a> {
    /// The event's offset.
    pub offset: Offset,
    /// When the event was made.
    pub created_at: UnixMillis,
    /// What it tells.
    pub told: Told<'a>,
}

/// What an event tells, as far as a store does not keep it elsewhere: the text of a message is in its own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// A name that an application was given.
    Name {
        /// The application.
        token: ApplicationToken,
        /// Whether the event created the application or renamed it.
        origin: NameOrigin,
        /// The name.
        name: &'a str,
    },
    /// A new chat.
    Chat(ChatKey),
    /// A new message.
    Message {
        /// Its chat.
        chat: ChatKey,
        /// Its number in the chat.
        number: MessageNumber,
        /// The bytes of its texts, by which pages are cut.
        text_bytes: usize,
    },
}

impl Told<'_> {
    /// The application that the event belongs to.
    pub const fn token(&self) -> ApplicationToken {
        match self {
            Self::Name { token, .. } => *token,
            Self::Chat(chat) | Self::Message { chat, .. } => chat.token,
        }
    }

    /// The chat that the event belongs to; `None` if it belongs to the application itself.
    pub const fn chat(&self) -> Option<ChatKey> {
        match self {
            Self::Name { .. } => None,
            Self::Chat(chat) | Self::Message { chat, .. } => Some(*chat),
        }
    }

    /// The bytes of its texts.
    pub const fn text_bytes(&self) -> usize {
        match self {
            Self::Name { name, .. } => name.len(),
            Self::Chat(_) => 0,
            Self::Message { text_bytes, .. } => *text_bytes,
        }
    }
}

/// The events of a batch that a store has kept.
pub(crate) struct Kept<'a> {
    /// Creations of applications, and renames that were new.
    pub(crate) names: Vec<&'a NameChange>,
    /// New chats.
    pub(crate) chats: Vec<&'a ChatRow>,
    /// The first message of each key in the batch.
    pub(crate) messages: Vec<&'a MessageRow>,
    /// Those keys among them that an earlier batch has taken.
    pub(crate) taken: HashSet<MessageKey>,
    /// Which chats of these were created before the batch.
    pub(crate) created: HashSet<ChatKey>,
}

/// The rows of the feed, in log order.
///
/// A message that lies before the creation of its chat is never told: when it came, nobody could see its chat. Whoever follows and whoever
/// reads from the beginning then are told the same. No release writes such a log.
pub(crate) fn tell<'a>(kept: &Kept<'a>) -> Vec<FeedRow<'a>> {
    let created_here: HashMap<ChatKey, Offset> = kept.chats.iter().map(|row| (row.chat, row.source.offset)).collect();
    let is_shown = |row: &MessageRow| {
        kept.created.contains(&row.chat)
            || created_here.get(&row.chat).is_some_and(|created| *created < row.source.offset)
    };
    let names = kept.names.iter().map(|change| FeedRow {
        offset: change.source.offset,
        created_at: change.occurred_at,
        told: Told::Name { token: change.token, origin: change.origin, name: &change.name },
    });
    let chats = kept.chats.iter().map(|row| FeedRow {
        offset: row.source.offset,
        created_at: row.created_at,
        told: Told::Chat(row.chat),
    });
    let messages = kept.messages.iter().filter(|row| !kept.taken.contains(&(row.chat, row.number)) && is_shown(row));
    let messages = messages.map(|row| FeedRow {
        offset: row.source.offset,
        created_at: row.created_at,
        told: Told::Message { chat: row.chat, number: row.number, text_bytes: text_bytes(row) },
    });
    let mut rows: Vec<_> = names.chain(chats).chain(messages).collect();
    rows.sort_unstable_by_key(|row| row.offset);
    rows
}

fn text_bytes(row: &MessageRow) -> usize {
    row.body.len() + row.author.as_ref().map_or(0, |author: &Author| author.as_str().len())
}

#[cfg(test)]
mod tests {
    use events::{ChatNumber, EventId};
    use uuid::Uuid;

    use super::*;
    use crate::changes::SourceEvent;

    const TOKEN: ApplicationToken = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);

    fn source(offset: u64) -> SourceEvent {
        SourceEvent { event_id: EventId(Uuid::from_u128(offset.into())), offset: Offset(offset) }
    }

    fn chat(offset: u64) -> ChatRow {
        let chat = ChatKey { token: TOKEN, number: ChatNumber::new(1).unwrap() };
        ChatRow { chat, source: source(offset), created_at: UnixMillis(0) }
    }

    fn message(number: u32, offset: u64) -> MessageRow {
        MessageRow {
            chat: chat(0).chat,
            number: MessageNumber::new(number).unwrap(),
            body: "x".to_owned(),
            author: None,
            source: source(offset),
            created_at: UnixMillis(0),
        }
    }

    fn offsets(chats: &[ChatRow], messages: &[MessageRow], taken: &[u32], created: bool) -> Vec<u64> {
        let keys = taken.iter().map(|number| (chat(0).chat, MessageNumber::new(*number).unwrap()));
        let kept = Kept {
            names: Vec::new(),
            chats: chats.iter().collect(),
            messages: messages.iter().collect(),
            taken: keys.collect(),
            created: created.then(|| chat(0).chat).into_iter().collect(),
        };
        tell(&kept).iter().map(|row| row.offset.0).collect()
    }

    #[test]
    fn messages_are_told_in_log_order_and_not_those_whose_number_was_taken() {
        assert_eq!(offsets(&[], &[message(2, 5), message(1, 3), message(7, 4)], &[7], true), [3, 5]);
    }

    #[test]
    fn messages_before_the_creation_of_their_chat_are_not_told() {
        assert_eq!(offsets(&[chat(4)], &[message(1, 3), message(2, 5)], &[], false), [4, 5]);
        assert_eq!(offsets(&[], &[message(1, 3)], &[], false), [0_u64; 0]);
    }
}
