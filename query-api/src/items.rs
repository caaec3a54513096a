//! The items of answers: applications, chats and messages, with the members that they always have and those that a request
//! includes.

use events::{ApplicationToken, Author, ChatNumber, MessageNumber, UnixMillis, rfc3339};
use read_model::{ApplicationView, ChatView, MessageView};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::include::Include;
use crate::paging::ListItem;

/// A member that a request may include.
#[derive(Debug)]
enum Included<T> {
    /// The request does not include it: the answer does not have the member.
    Left,
    /// It has this value, or null if there is none.
    Shown(Option<T>),
}

impl<T> Included<T> {
    fn new(is_included: bool, value: Option<T>) -> Self {
        if is_included { Self::Shown(value) } else { Self::Left }
    }

    fn is_left(&self) -> bool {
        matches!(self, Self::Left)
    }
}

impl<T: Serialize> Serialize for Included<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Left | Self::Shown(None) => serializer.serialize_none(),
            Self::Shown(Some(value)) => value.serialize(serializer),
        }
    }
}

/// The text of a time. There is none for a time that is not known, and for one after the year 9999.
fn created_at(include: Include, at: Option<UnixMillis>) -> Included<String> {
    let text = at.filter(|_| include.created_at).and_then(rfc3339::format);
    Included::new(include.created_at, text)
}

/// An application
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "name": "Support", "token": "f3b1c2a95d0e4b7c8a6f1d2e3c4b5a69", "chats_count": 1 }))]
pub(crate) struct Application {
    /// Its current name.
    name: String,
    /// Its public identifier.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    token: ApplicationToken,
    /// How many chats it has.
    #[schema(value_type = u32)]
    chats_count: u64,
    /// When it was created, in UTC; null if that is not known yet. Only if it is included.
    #[serde(skip_serializing_if = "Included::is_left")]
    #[schema(value_type = Option<String>, required = false, format = DateTime)]
    created_at: Included<String>,
}

/// A chat
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "number": 1, "messages_count": 1 }))]
pub(crate) struct Chat {
    /// Its number within the application.
    #[schema(value_type = u32, minimum = 1)]
    number: ChatNumber,
    /// How many messages it has.
    #[schema(value_type = u32)]
    messages_count: u64,
    /// When it was created, in UTC; null if that is not known yet. Only if it is included.
    #[serde(skip_serializing_if = "Included::is_left")]
    #[schema(value_type = Option<String>, required = false, format = DateTime)]
    created_at: Included<String>,
    /// The message with the highest number; null if there is none. Only if it is included.
    #[serde(skip_serializing_if = "Included::is_left")]
    #[schema(value_type = Option<Message>, required = false)]
    last_message: Included<Message>,
}

/// A message
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "number": 1, "body": "Hello, Straße! 🚀" }))]
pub(crate) struct Message {
    /// Its number within the chat.
    #[schema(value_type = u32, minimum = 1)]
    number: MessageNumber,
    /// Its text.
    body: String,
    /// Who it is from, in the application's own words; null if its writer did not say. Only if it is included.
    #[serde(skip_serializing_if = "Included::is_left")]
    #[schema(value_type = Option<String>, required = false)]
    author: Included<Author>,
    /// When it was posted, in UTC; null if that is not known yet. Only if it is included.
    #[serde(skip_serializing_if = "Included::is_left")]
    #[schema(value_type = Option<String>, required = false, format = DateTime)]
    created_at: Included<String>,
}

impl Application {
    pub(crate) fn new(view: ApplicationView, include: Include) -> Self {
        let ApplicationView { name, token, chats_count, created_at: at } = view;
        Self { name, token, chats_count, created_at: created_at(include, at) }
    }
}

impl Chat {
    pub(crate) fn new(view: ChatView, include: Include) -> Self {
        let ChatView { number, messages_count, created_at: at, last_message } = view;
        let last_message = last_message.map(|message| Message::new(message, include));
        let is_shown = include.last_message() == read_model::LastMessage::Show;
        Self {
            number,
            messages_count,
            created_at: created_at(include, at),
            last_message: Included::new(is_shown, last_message),
        }
    }
}

impl Message {
    pub(crate) fn new(view: MessageView, include: Include) -> Self {
        let MessageView { number, body, author, created_at: at } = view;
        Self { number, body, author: Included::new(include.author, author), created_at: created_at(include, at) }
    }
}

impl ListItem for Application {
    type Key = ApplicationToken;

    fn key(&self) -> ApplicationToken {
        self.token
    }
}

impl ListItem for Chat {
    type Key = ChatNumber;

    fn key(&self) -> ChatNumber {
        self.number
    }
}

impl ListItem for Message {
    type Key = MessageNumber;

    fn key(&self) -> MessageNumber {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AT: UnixMillis = UnixMillis(1_782_898_200_120);

    fn message(author: Option<&str>, created_at: Option<UnixMillis>) -> MessageView {
        let author = author.map(|author| Author::new(author.into()).unwrap());
        MessageView { number: MessageNumber::new(7).unwrap(), body: "hi".into(), author, created_at }
    }

    fn shown(view: MessageView, include: Option<&str>) -> Value {
        serde_json::to_value(Message::new(view, Include::of_messages(include).unwrap())).unwrap()
    }

    #[test]
    fn a_message_has_what_is_included() {
        let view = message(Some("alice"), Some(AT));
        assert_eq!(shown(view.clone(), None), json!({ "number": 7, "body": "hi" }));
        assert_eq!(shown(view.clone(), Some("author")), json!({ "number": 7, "body": "hi", "author": "alice" }));
        let all = json!({ "number": 7, "body": "hi", "author": "alice", "created_at": "2026-07-01T09:30:00.120Z" });
        assert_eq!(shown(view, Some("author,created_at")), all);
        let none = json!({ "number": 7, "body": "hi", "author": null, "created_at": null });
        assert_eq!(shown(message(None, None), Some("author,created_at")), none);
        assert_eq!(shown(message(None, Some(UnixMillis(u64::MAX))), Some("created_at"))["created_at"], Value::Null);
    }

    #[test]
    fn a_last_message_has_what_is_included() {
        let chat = |include, last_message| {
            let number = ChatNumber::new(3).unwrap();
            let view = ChatView { number, messages_count: 7, created_at: Some(AT), last_message };
            serde_json::to_value(Chat::new(view, Include::of_chats(include).unwrap())).unwrap()
        };
        let view = message(None, Some(AT));
        assert_eq!(chat(None, None), json!({ "number": 3, "messages_count": 7 }));
        let last = json!({ "number": 3, "messages_count": 7, "last_message": { "number": 7, "body": "hi" } });
        assert_eq!(chat(Some("last_message"), Some(view.clone())), last);
        let all = chat(Some("last_message,author,created_at"), Some(view));
        assert_eq!(all["created_at"], "2026-07-01T09:30:00.120Z");
        let message = json!({ "number": 7, "body": "hi", "author": null, "created_at": "2026-07-01T09:30:00.120Z" });
        assert_eq!(all["last_message"], message);
        let none = json!({ "number": 3, "messages_count": 7, "last_message": null });
        assert_eq!(chat(Some("last_message"), None), none);
    }
}
