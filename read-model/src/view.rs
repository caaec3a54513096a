//! Applications, chats and messages as readers see them. The serialized members are exactly those of the read API.

use events::{ApplicationToken, ChatNumber, MessageNumber};
use serde::Serialize;

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicationView {
    /// What people call it now.
    pub name: String,
    /// Its public name.
    pub token: ApplicationToken,
    /// How many chats it has.
    pub chats_count: u64,
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatView {
    /// Its number within the application.
    pub number: ChatNumber,
    /// How many messages it has.
    pub messages_count: u64,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageView {
    /// Its number within the chat.
    pub number: MessageNumber,
    /// What was said.
    pub body: String,
}
