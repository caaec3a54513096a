//! What can be asked of the read side, one method each.

use std::sync::Arc;

use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{
    ApplicationView, ChatView, MessageView, Page, Projection, SearchError, SearchIndex, SearchText, Slice, Views,
    ViewsError,
};
use tokio::time::Instant;

use crate::await_position::AwaitPosition;

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
        awaiting: &AwaitPosition,
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
        awaiting: &AwaitPosition,
        page: Page<ApplicationToken>,
    ) -> Result<Slice<ApplicationView>, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.applications(page).await.map_err(QueryError::Views)
    }

    /// One chat.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chat(&self, awaiting: &AwaitPosition, chat: ChatKey) -> Result<ChatView, QueryError> {
        self.caught_up(&VIEWS_AND_COUNTS, awaiting).await?;
        self.views.chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)
    }

    /// Chats of an application by number.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn chats(
        &self,
        awaiting: &AwaitPosition,
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
        awaiting: &AwaitPosition,
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
        awaiting: &AwaitPosition,
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
        awaiting: &AwaitPosition,
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
    async fn caught_up(&self, projections: &[Projection], awaiting: &AwaitPosition) -> Result<(), QueryError> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use events::{Offset, PartitionId, Position};
    use read_model::{Applied, Checkpoint, CheckpointMove, SearchDocument};

    use super::*;

    const WAIT: Duration = Duration::from_secs(2);
    /// What of a port nobody asks for here.
    const NOT_ASKED: &str = "this was not to be asked";

    /// Projections that come as far as they are asked for, each so long after it was asked.
    struct Slow {
        each_takes: Duration,
    }

    impl Slow {
        async fn reached(&self, within: Duration) -> bool {
            tokio::time::sleep(within.min(self.each_takes)).await;
            within >= self.each_takes
        }
    }

    #[async_trait]
    impl Views for Slow {
        async fn reached(&self, _: Projection, _: &Position, within: Duration) -> Result<bool, ViewsError> {
            Ok(Self::reached(self, within).await)
        }

        async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError> {
            Ok(Some(ChatView { number: chat.number, messages_count: 0 }))
        }

        async fn application(&self, _: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError> {
            panic!("{NOT_ASKED}")
        }

        async fn applications(&self, _: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError> {
            panic!("{NOT_ASKED}")
        }

        async fn chats(&self, _: ApplicationToken, _: Page<ChatNumber>) -> Result<Option<Slice<ChatView>>, ViewsError> {
            panic!("{NOT_ASKED}")
        }

        async fn message(&self, _: ChatKey, _: MessageNumber) -> Result<Option<MessageView>, ViewsError> {
            panic!("{NOT_ASKED}")
        }

        async fn messages(&self, _: ChatKey, _: Page<MessageNumber>) -> Result<Option<Slice<MessageView>>, ViewsError> {
            panic!("{NOT_ASKED}")
        }
    }

    #[async_trait]
    impl SearchIndex for Slow {
        fn batch_size(&self) -> u32 {
            1
        }

        async fn reached(&self, _: &Position, within: Duration) -> Result<bool, SearchError> {
            Ok(Self::reached(self, within).await)
        }

        async fn search(
            &self,
            _: ChatKey,
            _: &SearchText,
            _: Page<MessageNumber>,
        ) -> Result<Slice<MessageView>, SearchError> {
            Ok(Slice { items: Vec::new(), more: false })
        }

        async fn checkpoint(&self, _: PartitionId) -> Result<Checkpoint, SearchError> {
            panic!("{NOT_ASKED}")
        }

        async fn index(&self, _: CheckpointMove, _: Vec<SearchDocument>) -> Result<Applied, SearchError> {
            panic!("{NOT_ASKED}")
        }
    }

    /// A chat and a search in it, with projections each of which takes so long; and how long either took.
    async fn asked(each_takes: Duration) -> [(Result<(), QueryError>, Duration); 2] {
        let slow = Arc::new(Slow { each_takes });
        let queries = Queries::new(Arc::clone(&slow) as _, slow);
        let position = Some(Position::up_to(PartitionId(0), Offset(1)));
        let awaiting = AwaitPosition { position, within: WAIT };
        let token = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);
        let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
        let began = Instant::now();
        let shown = (queries.chat(&awaiting, chat).await.map(drop), began.elapsed());
        let began = Instant::now();
        let found = queries.search(&awaiting, chat, &SearchText::new("x").unwrap(), Page::FIRST).await;
        [shown, (found.map(drop), began.elapsed())]
    }

    #[tokio::test(start_paused = true)]
    async fn all_projections_of_a_question_share_one_wait() {
        for (outcome, took) in asked(WAIT / 4).await {
            assert!(outcome.is_ok(), "{outcome:?}");
            assert_eq!(took, WAIT / 2);
        }
        let [(shown, took), (found, search_took)] = asked(WAIT * 3 / 4).await;
        assert!(matches!(shown, Err(QueryError::Behind(Projection::Counts))), "{shown:?}");
        assert!(matches!(found, Err(QueryError::Behind(Projection::Search))), "{found:?}");
        assert_eq!([took, search_took], [WAIT, WAIT]);
    }
}
