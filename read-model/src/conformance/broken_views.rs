//! Views with one fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, LogId, MessageNumber, Position};

use crate::page::{Cursor, Page, Slice};
use crate::shown::Shown;
use crate::store::Projection;
use crate::view::{ApplicationView, ChatView, MessageView};
use crate::views::{LastMessage, Views, ViewsError};

/// A fault of views. Each check of [`views_conformance!`](crate::views_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the views do wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewsFault {
    NeverWaits,
    ForgetsTheLog,
    ReturnsAbsentForEmpty,
    ReturnsEmptyForAbsent,
    HidesUncountedChats,
    IgnoresSize,
    NeverHasMore,
    TrimsTexts,
    OmitsPositions,
    OmitsPositionsOfEmptyLists,
    OmitsCounts,
    OmitsAuthors,
    OmitsTimes,
    OmitsLastMessages,
}

struct BrokenViews {
    views: Arc<dyn Views>,
    fault: ViewsFault,
}

impl ViewsFault {
    /// Wraps correct views in views with this fault.
    pub fn inject(self, views: Arc<dyn Views>) -> Arc<dyn Views> {
        Arc::new(BrokenViews { views, fault: self })
    }
}

impl BrokenViews {
    fn damage_list<T>(&self, list: Option<Shown<Slice<T>>>) -> Option<Shown<Slice<T>>> {
        match (&self.fault, list) {
            (ViewsFault::ReturnsAbsentForEmpty, Some(list)) if list.value.items.is_empty() => None,
            (ViewsFault::ReturnsEmptyForAbsent, None) => {
                Some(Shown { value: Slice { items: Vec::new(), more: false }, position: Position::default() })
            }
            (ViewsFault::NeverHasMore, Some(list)) => Some(list.map(|slice| Slice { more: false, ..slice })),
            (ViewsFault::OmitsPositionsOfEmptyLists, Some(list)) if list.value.items.is_empty() => {
                Some(Shown { position: Position::default(), ..list })
            }
            (_, list) => list.map(|list| self.damage(list)),
        }
    }

    fn damage<T>(&self, shown: Shown<T>) -> Shown<T> {
        match self.fault {
            ViewsFault::OmitsPositions => Shown { position: Position::default(), ..shown },
            _ => shown,
        }
    }
}

#[async_trait]
impl Views for BrokenViews {
    async fn reached(&self, projection: Projection, position: &Position, within: Duration) -> Result<bool, ViewsError> {
        match self.fault {
            ViewsFault::NeverWaits => Ok(true),
            _ => self.views.reached(projection, position, within).await,
        }
    }

    async fn log_id(&self) -> Result<Option<LogId>, ViewsError> {
        match self.fault {
            ViewsFault::ForgetsTheLog => Ok(None),
            _ => self.views.log_id().await,
        }
    }

    async fn application(&self, token: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError> {
        let mut shown = self.views.application(token).await?;
        if let (ViewsFault::OmitsTimes, Some(shown)) = (&self.fault, &mut shown) {
            shown.value.created_at = None;
        }
        Ok(shown.map(|shown| self.damage(shown)))
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError> {
        Ok(self.damage(self.views.applications(page).await?))
    }

    async fn chat(&self, chat: ChatKey, last_message: LastMessage) -> Result<Option<Shown<ChatView>>, ViewsError> {
        let last_message = if self.fault == ViewsFault::OmitsLastMessages { LastMessage::Skip } else { last_message };
        let shown = self.views.chat(chat, last_message).await?;
        let mut shown =
            shown.filter(|shown| self.fault != ViewsFault::HidesUncountedChats || shown.value.messages_count > 0);
        if let (ViewsFault::OmitsCounts, Some(shown)) = (&self.fault, &mut shown) {
            shown.position = self.views.find_chat(chat).await?.unwrap();
        }
        Ok(shown)
    }

    async fn find_chat(&self, chat: ChatKey) -> Result<Option<Position>, ViewsError> {
        self.views.find_chat(chat).await
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
        last_message: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError> {
        let last_message = if self.fault == ViewsFault::OmitsLastMessages { LastMessage::Skip } else { last_message };
        Ok(self.damage_list(self.views.chats(token, page, last_message).await?))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<Shown<MessageView>>, ViewsError> {
        let mut shown = self.views.message(chat, number).await?;
        match (&self.fault, &mut shown) {
            (ViewsFault::TrimsTexts, Some(shown)) => shown.value.body = shown.value.body.trim().to_owned(),
            (ViewsFault::OmitsAuthors, Some(shown)) => shown.value.author = None,
            _ => {}
        }
        Ok(shown.map(|shown| self.damage(shown)))
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, ViewsError> {
        let mut list = self.damage_list(self.views.messages(chat, page).await?);
        if let (ViewsFault::IgnoresSize, Some(Shown { value: slice, .. })) = (&self.fault, &mut list) {
            while slice.more {
                let cursor = Cursor::After(slice.items.last().unwrap().number);
                let next = self.views.messages(chat, Page { cursor, ..page }).await?.unwrap().value;
                slice.items.extend(next.items);
                slice.more = next.more;
            }
        }
        Ok(list)
    }
}
