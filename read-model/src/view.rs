//! Applications, chats and messages as readers see them.
//!
//! A time is that of the event's envelope, by the clock of the process that wrote it. Numbers order, times inform. A time is `None`
//! in a row or a document of version 1, which has none.

use events::{ApplicationToken, Author, ChatNumber, MessageNumber, UnixMillis};

/// An application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationView {
    /// Its current name.
    pub name: String,
    /// Its public identifier.
    pub token: ApplicationToken,
    /// How many chats it has.
    pub chats_count: u64,
    /// When it was created. Also `None` while only renames of it were applied.
    pub created_at: Option<UnixMillis>,
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatView {
    /// Its number within the application.
    pub number: ChatNumber,
    /// How many messages it has.
    pub messages_count: u64,
    /// When it was created.
    pub created_at: Option<UnixMillis>,
    /// The message with the highest number that `views` has applied; `None` if there is none, or if the read left it out.
    pub last_message: Option<MessageView>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView {
    /// Its number within the chat.
    pub number: MessageNumber,
    /// Its text.
    pub body: String,
    /// Who it is from, if its event says so. Also `None` in a document of version 1 of `search`.
    pub author: Option<Author>,
    /// When it was posted.
    pub created_at: Option<UnixMillis>,
}

impl MessageView {
    /// The bytes of its texts, by which pages are cut.
    pub fn text_bytes(&self) -> usize {
        self.body.len() + self.author.as_ref().map_or(0, |author| author.as_str().len())
    }
}
