//! What can be asked of the read side, one method each.

use std::sync::Arc;
use std::time::Instant;

use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{
    ApplicationView, ChatView, MessageView, Page, Projection, SearchError, SearchIndex, SearchText, Slice, Views,
    ViewsError,
};

use crate::awaiting::Awaiting;

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
    /// A projection has not come as far as was waited for.
    #[error("the projection {} is behind the awaited position", .0.name())]
    Behind(Projection),
    /// The views cannot be read.
    #[error("the views cannot be read")]
    Views(#[source] ViewsError),
    /// The search index cannot be asked.
    #[error("search cannot be asked")]
    Search(#[source] SearchError),
}

/// What names and lists are read from.
const VIEWS: [Projection; 1] = [Projection::Views];
/// What is read where an answer has a count.
const VIEWS_AND_COUNTS: [Projection; 2] = [Projection::Views, Projection::Counts];

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
    pub async fn application(
        &self,
        awaiting: &Awaiting,
        token: ApplicationToken,
    ) -> Result<ApplicationView, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.application(token).await.map_err(QueryError::Views)?.ok_or(APPLICATION)
    }

    /// Applications by token.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn applications(
        &self,
        awaiting: &Awaiting,
        page: Page<ApplicationToken>,
    ) -> Result<Slice<ApplicationView>, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.applications(page).await.map_err(QueryError::Views)
    }

    /// One chat.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chat(&self, awaiting: &Awaiting, chat: ChatKey) -> Result<ChatView, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)
    }

    /// Chats of an application by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chats(
        &self,
        awaiting: &Awaiting,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Slice<ChatView>, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.chats(token, page).await.map_err(QueryError::Views)?.ok_or(APPLICATION)
    }

    /// One message.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn message(
        &self,
        awaiting: &Awaiting,
        chat: ChatKey,
        number: MessageNumber,
    ) -> Result<MessageView, QueryError> {
        self.caught_up(&VIEWS, awaiting).await?;
        self.views.message(chat, number).await.map_err(QueryError::Views)?.ok_or(MESSAGE)
    }

    /// Messages of a chat by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn messages(
        &self,
        awaiting: &Awaiting,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, QueryError> {
        self.caught_up(&VIEWS, awaiting).await?;
        self.views.messages(chat, page).await.map_err(QueryError::Views)?.ok_or(CHAT)
    }

    /// Messages of a chat that contain a text, by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn search(
        &self,
        awaiting: &Awaiting,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Slice<MessageView>, QueryError> {
        let began = Instant::now();
        self.caught_up(&VIEWS, awaiting).await?;
        if let Some(position) = &awaiting.position {
            let within = awaiting.within.saturating_sub(began.elapsed());
            let reached = self.search.reached(position, within).await.map_err(QueryError::Search)?;
            if !reached {
                return Err(QueryError::Behind(Projection::Search));
            }
        }
        self.views.chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)?;
        self.search.search(chat, text, page).await.map_err(QueryError::Search)
    }

    /// Waits for the projections of `views` and `counts` that are about to be read, all within one wait.
    async fn caught_up(&self, projections: &[Projection], awaiting: &Awaiting) -> Result<(), QueryError> {
        let Some(position) = &awaiting.position else {
            return Ok(());
        };
        let began = Instant::now();
        for projection in projections {
            let within = awaiting.within.saturating_sub(began.elapsed());
            if !self.views.reached(*projection, position, within).await.map_err(QueryError::Views)? {
                return Err(QueryError::Behind(*projection));
            }
        }
        Ok(())
    }
}
