//! Applications, chats and messages as readers see them. They serialize to exactly the members of the read API.

use events::{ApplicationToken, ChatNumber, MessageNumber};
use serde::Serialize;
use utoipa::ToSchema;

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Application)]
pub struct ApplicationView {
    /// Its current name.
    pub name: String,
    /// Its public identifier.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    pub token: ApplicationToken,
    /// How many chats it has.
    pub chats_count: u64,
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Chat)]
pub struct ChatView {
    /// Its number within the application.
    #[schema(value_type = u32, minimum = 1)]
    pub number: ChatNumber,
    /// How many messages it has.
    pub messages_count: u64,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageView {
    /// Its number within the chat.
    #[schema(value_type = u32, minimum = 1)]
    pub number: MessageNumber,
    /// Its text.
    pub body: String,
}
