//! The port through which views are read.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};

use crate::BackendError;
use crate::page::{Page, Slice};
use crate::store::Projection;
use crate::view::{ApplicationView, ChatView, MessageView};

/// Reads what the projections `views` and `counts` have made of the log.
///
/// Each call sees one state of each projection. Whether a thing exists is decided by the row nearest to it: a chat may
/// be seen before its application is. A chat that `counts` has not seen yet has 0 messages.
#[async_trait]
pub trait Views: Send + Sync {
    /// Waits until `views` or `counts` has applied everything that `position` covers: true once it has, false if it has
    /// not after `within`. What is read afterwards shows it.
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError>;

    /// One application.
    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError>;

    /// Applications by token.
    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError>;

    /// One chat.
    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError>;

    /// Chats by number; `None` if there is neither such an application nor a chat of it.
    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError>;

    /// One message.
    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError>;

    /// Messages by number; `None` if there is no such chat.
    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError>;
}

/// Why a view could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read")]
pub struct ViewsError {
    /// What was asked for, in words.
    pub what: &'static str,
    /// What went wrong.
    #[source]
    pub source: BackendError,
}
