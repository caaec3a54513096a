//! The port that reads views.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, LogId, MessageNumber, Position};

use crate::BackendError;
use crate::page::{Page, Slice};
use crate::shown::Shown;
use crate::store::Projection;
use crate::view::{ApplicationView, ChatView, MessageView};

/// Whether a read of chats shows their last messages, each of which costs a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastMessage {
    /// It does not.
    Skip,
    /// It does.
    Show,
}

/// Reads the projections `views` and `counts`.
///
/// - **One state:** each call reads one state of each projection. A chat exists once its own row does, even if its application has
///   no row yet. A chat that `counts` has not applied yet has 0 messages.
/// - **Position:** a message shows its event; a chat its creation, the last event that its count includes, and its last message if
///   that is shown, so one partition; a
///   list of messages its rows and its chat, also if it is empty; a list of chats its rows, and an empty one the row that shows that
///   there is such an application. Names and counts of applications come from all partitions: they show the checkpoints of both
///   projections. Rows of version 1 do not name their events: they show the checkpoints, too.
#[async_trait]
pub trait Views: Send + Sync {
    /// Waits until `views` or `counts` has applied everything that `position` covers. Returns false if it has not after
    /// `within`. After true, reads show those events.
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError>;

    /// The log that `views` is made from, as its checkpoints know it. `None` while they do not: `views` is empty, or the release before has
    /// written it.
    async fn log_id(&self) -> Result<Option<LogId>, ViewsError>;

    /// Reads one application.
    async fn application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError>;

    /// Lists applications, ordered by token.
    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError>;

    /// Reads one chat.
    async fn chat(&self, chat: ChatKey, last_message: LastMessage) -> Result<Option<Shown<ChatView>>, ViewsError>;

    /// The position of a chat's creation; `None` if the chat does not exist.
    async fn find_chat(&self, chat: ChatKey) -> Result<Option<Position>, ViewsError>;

    /// Lists chats, ordered by number; `None` if neither the application nor any chat of it exists.
    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError>;

    /// Reads one message.
    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>, ViewsError>;

    /// Lists messages, ordered by number; `None` if the chat does not exist.
    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, ViewsError>;
}

/// A view could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read")]
pub struct ViewsError {
    /// Names the view in the message.
    pub what: &'static str,
    /// The adapter's error.
    #[source]
    pub source: BackendError,
}
