//! The events. Their JSON lasts for ever: a change of shape is a new version with an upcaster and a fixture.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::access::{KeyIssued, KeyRevoked, UserTokensVoided};
use crate::author::Author;
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
    /// Who the message is from, if the request said so. Version 1 has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
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
    /// See [`KeyIssued`].
    #[serde(rename = "KeyIssued")]
    KeyIssued(KeyIssued),
    /// See [`KeyRevoked`].
    #[serde(rename = "KeyRevoked")]
    KeyRevoked(KeyRevoked),
    /// See [`UserTokensVoided`].
    #[serde(rename = "UserTokensVoided")]
    UserTokensVoided(UserTokensVoided),
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
    /// See [`Event::KeyIssued`].
    KeyIssued,
    /// See [`Event::KeyRevoked`].
    KeyRevoked,
    /// See [`Event::UserTokensVoided`].
    UserTokensVoided,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::ChatApplicationCreated,
        Self::ChatApplicationRenamed,
        Self::ChatCreated,
        Self::MessagePosted,
        Self::KeyIssued,
        Self::KeyRevoked,
        Self::UserTokensVoided,
    ];

    /// The wire name.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::ChatApplicationCreated => "ChatApplicationCreated",
            Self::ChatApplicationRenamed => "ChatApplicationRenamed",
            Self::ChatCreated => "ChatCreated",
            Self::MessagePosted => "MessagePosted",
            Self::KeyIssued => "KeyIssued",
            Self::KeyRevoked => "KeyRevoked",
            Self::UserTokensVoided => "UserTokensVoided",
        }
    }

    /// Looks up a wire name; `None` for a type that only a newer release knows.
    pub fn from_wire_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.wire_name() == name)
    }

    /// The highest version that this release knows. [`Event::version`] says which one it writes.
    pub const fn current_version(self) -> u16 {
        match self {
            Self::ChatApplicationCreated
            | Self::ChatApplicationRenamed
            | Self::ChatCreated
            | Self::KeyIssued
            | Self::KeyRevoked
            | Self::UserTokensVoided => 1,
            Self::MessagePosted => 2,
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
            Self::KeyIssued(_) => EventType::KeyIssued,
            Self::KeyRevoked(_) => EventType::KeyRevoked,
            Self::UserTokensVoided(_) => EventType::UserTokensVoided,
        }
    }

    /// The version that the event is written as: the lowest that has all of its members, so that readers of earlier releases
    /// can read as much as possible.
    pub const fn version(&self) -> u16 {
        match self {
            Self::MessagePosted(MessagePosted { author: Some(_), .. }) => 2,
            Self::ChatApplicationCreated(_)
            | Self::ChatApplicationRenamed(_)
            | Self::ChatCreated(_)
            | Self::MessagePosted(_)
            | Self::KeyIssued(_)
            | Self::KeyRevoked(_)
            | Self::UserTokensVoided(_) => 1,
        }
    }

    /// The stream that the event belongs to.
    pub const fn stream(&self) -> StreamKey {
        match self {
            Self::ChatApplicationCreated(created) => StreamKey::Application(created.token),
            Self::ChatApplicationRenamed(renamed) => StreamKey::Application(renamed.token),
            Self::ChatCreated(created) => StreamKey::Chat(created.chat()),
            Self::MessagePosted(posted) => StreamKey::Chat(posted.chat()),
            Self::KeyIssued(issued) => StreamKey::Application(issued.token),
            Self::KeyRevoked(revoked) => StreamKey::Application(revoked.token),
            Self::UserTokensVoided(voided) => StreamKey::Application(voided.token),
        }
    }

    /// The number that was reserved for the event; `None` for an application's own events.
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::ChatApplicationCreated(_)
            | Self::ChatApplicationRenamed(_)
            | Self::KeyIssued(_)
            | Self::KeyRevoked(_)
            | Self::UserTokensVoided(_) => None,
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
        self.version().to_string()
    }
}
