//! What can be asked of the read side, one method each.

use std::sync::Arc;

use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{
    ApplicationView, ChatView, MessageView, Page, SearchError, SearchIndex, SearchText, Slice, Views, ViewsError,
};

/// Answers questions from the projections.
#[derive(Clone)]
pub struct Queries {
    views: Arc<dyn Views>,
    search: Arc<dyn SearchIndex>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// What was asked for is not there.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The views cannot be read.
    #[error("the views cannot be read")]
    Views(#[source] ViewsError),
    /// The search index cannot be asked.
    #[error("search cannot be asked")]
    Search(#[source] SearchError),
}

const APPLICATION: QueryError = QueryError::Unknown("application");
const CHAT: QueryError = QueryError::Unknown("chat");
const MESSAGE: QueryError = QueryError::Unknown("message");

impl Queries {
    /// Over the read side's ports.
    pub const fn new(views: Arc<dyn Views>, search: Arc<dyn SearchIndex>) -> Self {
        Self { views, search }
    }

    /// One application.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn application(&self, token: ApplicationToken) -> Result<ApplicationView, QueryError> {
        self.views.application(token).await.map_err(QueryError::Views)?.ok_or(APPLICATION)
    }

    /// Applications by token.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, QueryError> {
        self.views.applications(page).await.map_err(QueryError::Views)
    }

    /// One chat.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chat(&self, chat: ChatKey) -> Result<ChatView, QueryError> {
        self.views.chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)
    }

    /// Chats of an application by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chats(&self, token: ApplicationToken, page: Page<ChatNumber>) -> Result<Slice<ChatView>, QueryError> {
        self.views.chats(token, page).await.map_err(QueryError::Views)?.ok_or(APPLICATION)
    }

    /// One message.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<MessageView, QueryError> {
        self.views.message(chat, number).await.map_err(QueryError::Views)?.ok_or(MESSAGE)
    }

    /// Messages of a chat by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn messages(&self, chat: ChatKey, page: Page<MessageNumber>) -> Result<Slice<MessageView>, QueryError> {
        self.views.messages(chat, page).await.map_err(QueryError::Views)?.ok_or(CHAT)
    }

    /// Messages of a chat that contain a text, by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn search(
        &self,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, QueryError> {
        self.chat(chat).await?;
        self.search.search(chat, text, page).await.map_err(QueryError::Search)
    }
}
