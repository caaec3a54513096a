//! An event as JSON.

use events::{ApplicationToken, Author, ChatNumber, ClientPosition, LogMark, MessageNumber, Position, rfc3339};
use read_model::{FeedEvent, Happening};
use serde::Serialize;
use utoipa::ToSchema;

/// What has happened. There may be further types later; pass over those that you do not know
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event, example = json!({
    "type": "message.created",
    "position": "0:42",
    "timestamp": "2026-07-01T09:30:00.123Z",
    "data": { "chat": 1, "number": 1, "body": "Hello, Straße! 🚀", "author": "alice", "created_at": "2026-07-01T09:30:00.123Z" }
}))]
pub(crate) struct Item<'a> {
    /// chat_application.created, chat_application.renamed, chat.created or message.created.
    #[schema(value_type = String)]
    r#type: &'static str,
    /// Send it as after, Last-Event-ID or Await-Position: it covers this event and all that were told before it.
    position: String,
    /// When it happened, in UTC, by the clock of the process that wrote it.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Option<String>,
    /// The resource, as it was then.
    data: Data<'a>,
}

/// The members of the resource that an event is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = EventData)]
enum Data<'a> {
    /// chat_application.created
    ApplicationCreated {
        name: &'a str,
        #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
        token: ApplicationToken,
        chats_count: u32,
        #[schema(value_type = String, format = DateTime)]
        created_at: Option<String>,
    },
    /// chat_application.renamed
    ApplicationRenamed {
        name: &'a str,
        #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
        token: ApplicationToken,
    },
    /// chat.created
    ChatCreated {
        #[schema(value_type = u32, minimum = 1)]
        number: ChatNumber,
        messages_count: u32,
        #[schema(value_type = String, format = DateTime)]
        created_at: Option<String>,
    },
    /// message.created
    MessageCreated {
        /// The number of the chat.
        #[schema(value_type = u32, minimum = 1)]
        chat: ChatNumber,
        /// The number of the message in the chat.
        #[schema(value_type = u32, minimum = 1)]
        number: MessageNumber,
        body: &'a str,
        /// null if its writer did not say.
        #[schema(value_type = Option<String>, required)]
        author: Option<&'a Author>,
        #[schema(value_type = String, format = DateTime)]
        created_at: Option<String>,
    },
}

/// The one place where a position of the feed gets the mark of its log and becomes text.
pub(crate) fn position_text(mark: Option<LogMark>, position: &Position) -> String {
    ClientPosition { mark, position: position.clone() }.to_string()
}

impl<'a> Item<'a> {
    /// The event, told by whoever has told everything before `position`.
    pub(crate) fn new(event: &'a FeedEvent, mark: Option<LogMark>, position: &Position) -> Self {
        let timestamp = rfc3339::format(event.created_at);
        let created_at = timestamp.clone();
        let token = event.token;
        let (r#type, data) = match &event.happening {
            Happening::ApplicationCreated { name } => {
                ("chat_application.created", Data::ApplicationCreated { name, token, chats_count: 0, created_at })
            }
            // The time is that of the event: nothing was created.
            Happening::ApplicationRenamed { name } => {
                ("chat_application.renamed", Data::ApplicationRenamed { name, token })
            }
            Happening::ChatCreated { chat } => {
                ("chat.created", Data::ChatCreated { number: *chat, messages_count: 0, created_at })
            }
            Happening::MessageCreated { chat, number, body, author } => {
                let (chat, number, author) = (*chat, *number, author.as_ref());
                ("message.created", Data::MessageCreated { chat, number, body, author, created_at })
            }
        };
        Self { r#type, position: position_text(mark, position), timestamp, data }
    }

    /// Its JSON, in one line.
    pub(crate) fn write_to(&self, text: &mut Vec<u8>) {
        // It has no map, and a vector takes everything: nothing can fail.
        let written = serde_json::to_writer(text, self);
        debug_assert!(written.is_ok(), "{written:?}");
    }
}

#[cfg(test)]
mod tests {
    use events::{Offset, PartitionId, Place, UnixMillis};
    use serde_json::{Value, json};

    use super::*;

    fn shown(happening: Happening) -> Value {
        let event = FeedEvent {
            place: Place { partition: PartitionId(0), offset: Offset(6) },
            created_at: UnixMillis(1_782_898_200_120),
            token: ApplicationToken::from_bytes([7; 16]),
            happening,
        };
        let mut text = Vec::new();
        Item::new(&event, "a1b2c3d4".parse().ok(), &"0:7.1:3".parse().unwrap()).write_to(&mut text);
        assert!(!text.contains(&b'\n'), "an event of the stream is one line");
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn an_event_has_the_resource_with_its_time() {
        const AT: &str = "2026-07-01T09:30:00.120Z";
        let (number, message) = (ChatNumber::new(3).unwrap(), MessageNumber::new(9).unwrap());
        let (name, token) = ("a \"b\"\n".to_owned(), "07".repeat(16));
        let author = Some(Author::new("alice".into()).unwrap());
        let message_created =
            |author| Happening::MessageCreated { chat: number, number: message, body: "hi\r\n".into(), author };
        for (happening, r#type, data) in [
            (
                Happening::ApplicationCreated { name: name.clone() },
                "chat_application.created",
                json!({ "name": name, "token": token, "chats_count": 0, "created_at": AT }),
            ),
            (
                Happening::ApplicationRenamed { name: name.clone() },
                "chat_application.renamed",
                json!({ "name": name, "token": token }),
            ),
            (
                Happening::ChatCreated { chat: number },
                "chat.created",
                json!({ "number": 3, "messages_count": 0, "created_at": AT }),
            ),
            (
                message_created(author),
                "message.created",
                json!({ "chat": 3, "number": 9, "body": "hi\r\n", "author": "alice", "created_at": AT }),
            ),
            (
                message_created(None),
                "message.created",
                json!({ "chat": 3, "number": 9, "body": "hi\r\n", "author": null, "created_at": AT }),
            ),
        ] {
            let expected = json!({ "type": r#type, "position": "a1b2c3d4~0:7.1:3", "timestamp": AT, "data": data });
            assert_eq!(shown(happening), expected);
        }
    }
}
