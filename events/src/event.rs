//! The events. Their JSON is for ever: a change of shape is a new version with an upcaster and a fixture.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::number::{ChatNumber, MessageNumber, Number};
use crate::stream::{ChatKey, StreamKey};
use crate::token::ApplicationToken;

/// An application came to be under a random token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplicationCreated {
    /// Its public name.
    pub token: ApplicationToken,
    /// What people call it.
    pub name: String,
}

/// An application got another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplicationRenamed {
    /// Which application.
    pub token: ApplicationToken,
    /// What people call it from now on.
    pub name: String,
}

/// A chat came to be under the next number of its application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// The application that owns it.
    pub token: ApplicationToken,
    /// Its number there.
    pub number: ChatNumber,
}

/// A message came to be under the next number of its chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePosted {
    /// The application that owns the chat.
    pub token: ApplicationToken,
    /// The chat that owns the message.
    pub chat_number: ChatNumber,
    /// Its number there.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
}

/// Something that happened, and that every projection is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// See [`ChatApplicationCreated`].
    #[serde(rename = "ChatApplicationCreated")]
    ChatApplicationCreated(ChatApplicationCreated),
    /// See [`ChatApplicationRenamed`].
    #[serde(rename = "ChatApplicationRenamed")]
    ChatApplicationRenamed(ChatApplicationRenamed),
    /// See [`ChatCreated`].
    #[serde(rename = "ChatCreated")]
    ChatCreated(ChatCreated),
    /// See [`MessagePosted`].
    #[serde(rename = "MessagePosted")]
    MessagePosted(MessagePosted),
}

/// The kinds of event, by the names they have on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// See [`Event::ChatApplicationCreated`].
    ChatApplicationCreated,
    /// See [`Event::ChatApplicationRenamed`].
    ChatApplicationRenamed,
    /// See [`Event::ChatCreated`].
    ChatCreated,
    /// See [`Event::MessagePosted`].
    MessagePosted,
}

impl EventType {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::ChatApplicationCreated, Self::ChatApplicationRenamed, Self::ChatCreated, Self::MessagePosted];

    /// The name on the wire.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::ChatApplicationCreated => "ChatApplicationCreated",
            Self::ChatApplicationRenamed => "ChatApplicationRenamed",
            Self::ChatCreated => "ChatCreated",
            Self::MessagePosted => "MessagePosted",
        }
    }

    /// The kind of this name; `None` for a kind that only a newer version knows.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.wire_name() == name)
    }

    /// The version that is written today.
    pub const fn current_version(self) -> u16 {
        match self {
            Self::ChatApplicationCreated | Self::ChatApplicationRenamed | Self::ChatCreated | Self::MessagePosted => 1,
        }
    }
}

impl Event {
    /// Its kind.
    pub const fn event_type(&self) -> EventType {
        match self {
            Self::ChatApplicationCreated(_) => EventType::ChatApplicationCreated,
            Self::ChatApplicationRenamed(_) => EventType::ChatApplicationRenamed,
            Self::ChatCreated(_) => EventType::ChatCreated,
            Self::MessagePosted(_) => EventType::MessagePosted,
        }
    }

    /// The stream it belongs to.
    pub const fn stream(&self) -> StreamKey {
        match self {
            Self::ChatApplicationCreated(created) => StreamKey::Application(created.token),
            Self::ChatApplicationRenamed(renamed) => StreamKey::Application(renamed.token),
            Self::ChatCreated(created) => StreamKey::Chat(created.chat()),
            Self::MessagePosted(posted) => StreamKey::Chat(posted.chat()),
        }
    }

    /// The number that was reserved for it; `None` for an application's own events.
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::ChatApplicationCreated(_) | Self::ChatApplicationRenamed(_) => None,
            Self::ChatCreated(created) => Some(created.number.0),
            Self::MessagePosted(posted) => Some(posted.number.0),
        }
    }
}

impl ChatCreated {
    /// The chat's name.
    pub const fn chat(&self) -> ChatKey {
        ChatKey { token: self.token, number: self.number }
    }
}

impl MessagePosted {
    /// The name of the chat that owns the message.
    pub const fn chat(&self) -> ChatKey {
        ChatKey { token: self.token, number: self.chat_number }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        Self::event_type(self).wire_name().to_owned()
    }

    fn event_version(&self) -> String {
        Self::event_type(self).current_version().to_string()
    }
}
