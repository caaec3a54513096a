//! The port that reads views.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};

use crate::BackendError;
use crate::page::{Page, Slice};
use crate::store::Projection;
use crate::view::{ApplicationView, ChatView, MessageView};

/// Reads the projections `views` and `counts`.
///
/// Each call reads one state of each projection. A chat exists once its own row does, even if its application has no
/// row yet. A chat that `counts` has not applied yet has 0 messages.
#[async_trait]
pub trait Views: Send + Sync {
    /// Waits until `views` or `counts` has applied everything that `position` covers. Returns false if it has not after
    /// `within`. After true, reads show those events.
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError>;

    /// Reads one application.
    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError>;

    /// Lists applications, ordered by token.
    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError>;

    /// Reads one chat.
    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError>;

    /// Lists chats, ordered by number; `None` if neither the application nor any chat of it exists.
    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError>;

    /// Reads one message.
    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError>;

    /// Lists messages, ordered by number; `None` if the chat does not exist.
    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError>;
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
