//! Views with one fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber, Position};

use crate::page::{Cursor, Page, Slice};
use crate::store::Projection;
use crate::view::{ApplicationView, ChatView, MessageView};
use crate::views::{Views, ViewsError};

/// A fault of views. Each check of [`views_conformance!`](crate::views_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the views do wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewsFault {
    NeverWaits,
    ReturnsAbsentForEmpty,
    ReturnsEmptyForAbsent,
    HidesUncountedChats,
    IgnoresSize,
    NeverHasMore,
    TrimsTexts,
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
    fn damage<T>(&self, slice: Option<Slice<T>>) -> Option<Slice<T>> {
        match (&self.fault, slice) {
            (ViewsFault::ReturnsAbsentForEmpty, Some(slice)) if slice.items.is_empty() => None,
            (ViewsFault::ReturnsEmptyForAbsent, None) => Some(Slice { items: Vec::new(), more: false }),
            (ViewsFault::NeverHasMore, Some(slice)) => Some(Slice { more: false, ..slice }),
            (_, slice) => slice,
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

    async fn application(&self, token: ApplicationToken) -> Result<Option<ApplicationView>, ViewsError> {
        self.views.application(token).await
    }

    async fn applications(&self, page: Page<ApplicationToken>) -> Result<Slice<ApplicationView>, ViewsError> {
        self.views.applications(page).await
    }

    async fn chat(&self, chat: ChatKey) -> Result<Option<ChatView>, ViewsError> {
        let view = self.views.chat(chat).await?;
        Ok(view.filter(|view| self.fault != ViewsFault::HidesUncountedChats || view.messages_count > 0))
    }

    async fn chats(
        &self,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Option<Slice<ChatView>>, ViewsError> {
        Ok(self.damage(self.views.chats(token, page).await?))
    }

    async fn message(&self, chat: ChatKey, number: MessageNumber) -> Result<Option<MessageView>, ViewsError> {
        let mut view = self.views.message(chat, number).await?;
        if let (ViewsFault::TrimsTexts, Some(view)) = (&self.fault, &mut view) {
            view.body = view.body.trim().to_owned();
        }
        Ok(view)
    }

    async fn messages(
        &self,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Option<Slice<MessageView>>, ViewsError> {
        let mut slice = self.damage(self.views.messages(chat, page).await?);
        if let (ViewsFault::IgnoresSize, Some(slice)) = (&self.fault, &mut slice) {
            while slice.more {
                let cursor = Cursor::After(slice.items.last().unwrap().number);
                let next = self.views.messages(chat, Page { cursor, ..page }).await?.unwrap();
                slice.items.extend(next.items);
                slice.more = next.more;
            }
        }
        Ok(slice)
    }
}
