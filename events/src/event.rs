//! The events. Their JSON lasts for ever: a change of shape is a new version with an upcaster and a fixture.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::number::{ChatNumber, MessageNumber, Number};
use crate::stream::{ChatKey, StreamKey};
use crate::token::ApplicationToken;

/// An application was created under a random token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplicationCreated {
    /// The random token, with which clients address the application.
    pub token: ApplicationToken,
    /// The name for people.
    pub name: String,
}

/// An application was renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApplicationRenamed {
    /// The application.
    pub token: ApplicationToken,
    /// The new name, for people.
    pub name: String,
}

/// A chat was created under the next number of its application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatCreated {
    /// The application that owns the chat.
    pub token: ApplicationToken,
    /// The chat's number within the application.
    pub number: ChatNumber,
}

/// A message was posted under the next number of its chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePosted {
    /// The application that owns the chat.
    pub token: ApplicationToken,
    /// The chat that owns the message.
    pub chat_number: ChatNumber,
    /// The message's number within the chat.
    pub number: MessageNumber,
    /// The text of the message.
    pub body: String,
}

/// Any event. Every projection is built from events alone.
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

/// The types of events. Each has a wire name.
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
    /// Every type.
    pub const ALL: [Self; 4] =
        [Self::ChatApplicationCreated, Self::ChatApplicationRenamed, Self::ChatCreated, Self::MessagePosted];

    /// The wire name.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::ChatApplicationCreated => "ChatApplicationCreated",
            Self::ChatApplicationRenamed => "ChatApplicationRenamed",
            Self::ChatCreated => "ChatCreated",
            Self::MessagePosted => "MessagePosted",
        }
    }

    /// Looks up a wire name; `None` for a type that only a newer release knows.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.wire_name() == name)
    }

    /// The version that this release writes.
    pub const fn current_version(self) -> u16 {
        match self {
            Self::ChatApplicationCreated | Self::ChatApplicationRenamed | Self::ChatCreated | Self::MessagePosted => 1,
        }
    }
}

impl Event {
    /// The type of the event.
    pub const fn event_type(&self) -> EventType {
        match self {
            Self::ChatApplicationCreated(_) => EventType::ChatApplicationCreated,
            Self::ChatApplicationRenamed(_) => EventType::ChatApplicationRenamed,
            Self::ChatCreated(_) => EventType::ChatCreated,
            Self::MessagePosted(_) => EventType::MessagePosted,
        }
    }

    /// The stream that the event belongs to.
    pub const fn stream(&self) -> StreamKey {
        match self {
            Self::ChatApplicationCreated(created) => StreamKey::Application(created.token),
            Self::ChatApplicationRenamed(renamed) => StreamKey::Application(renamed.token),
            Self::ChatCreated(created) => StreamKey::Chat(created.chat()),
            Self::MessagePosted(posted) => StreamKey::Chat(posted.chat()),
        }
    }

    /// The number that was reserved for the event; `None` for an application's own events.
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::ChatApplicationCreated(_) | Self::ChatApplicationRenamed(_) => None,
            Self::ChatCreated(created) => Some(created.number.0),
            Self::MessagePosted(posted) => Some(posted.number.0),
        }
    }
}

impl ChatCreated {
    /// The chat that was created.
    pub const fn chat(&self) -> ChatKey {
        ChatKey { token: self.token, number: self.number }
    }
}

impl MessagePosted {
    /// The chat that owns the message.
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
