//! Rows and batches.

use std::collections::BTreeMap;

use events::{ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId, UnixMillis};
use read_model::{
    ApplicationCountsDelta, ChatRow, Checkpoint, CheckpointMove, CountsChanges, MessageRow, SourceEvent, ViewsChanges,
};
use uuid::Uuid;

pub(crate) const PARTITION: PartitionId = PartitionId(0);

pub(crate) fn token(byte: u8) -> ApplicationToken {
    ApplicationToken::from_bytes([byte; 16])
}

pub(crate) fn chat(byte: u8) -> ChatKey {
    ChatKey { token: token(byte), number: ChatNumber::new(1).unwrap() }
}

pub(crate) fn number(number: u32) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}

pub(crate) fn source_event(offset: u64) -> SourceEvent {
    SourceEvent { event_id: EventId(Uuid::now_v7()), offset: Offset(offset) }
}

pub(crate) fn checkpoint_move(from: u64, to: u64) -> CheckpointMove {
    let to = Checkpoint { next: Offset(to), ..Checkpoint::START };
    CheckpointMove { partition: PARTITION, from: Offset(from), to }
}

/// A chat and its messages 1, 2, 3 …, at the offsets from 0 on.
pub(crate) fn messages(chat: ChatKey, bodies: &[String]) -> ViewsChanges {
    messages_from(0, chat, bodies)
}

/// The same at later offsets.
pub(crate) fn messages_from(first: u64, chat: ChatKey, bodies: &[String]) -> ViewsChanges {
    let messages = (1..).zip(bodies).map(|(message, body)| MessageRow {
        chat,
        number: number(message),
        body: body.clone(),
        author: None,
        source: source_event(first + u64::from(message)),
        created_at: UnixMillis(0),
    });
    let chats = vec![ChatRow { chat, source: source_event(first), created_at: UnixMillis(0) }];
    ViewsChanges { chats, messages: messages.collect(), ..ViewsChanges::default() }
}

/// Adds one chat to the counts of each application.
pub(crate) fn one_more_chat(tokens: &[ApplicationToken]) -> CountsChanges {
    let delta = ApplicationCountsDelta { created: true, chats: 1, last_chat: 1 };
    let applications: BTreeMap<_, _> = tokens.iter().map(|token| (*token, delta)).collect();
    CountsChanges { applications, ..CountsChanges::default() }
}
