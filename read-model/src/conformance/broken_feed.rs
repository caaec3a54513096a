//! A feed with one fault.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use events::Position;

use super::{SHORT_WAIT, message_number};
use crate::feed::{Feed, FeedError, FeedEvent, FeedPage, FeedSelection, Happening};

/// A fault of a feed. Each check of [`feed_conformance!`](crate::feed_conformance!) must find one.
#[expect(missing_docs, reason = "each name says what the feed does wrong")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedFault {
    OmitsAuthorsOfEvents,
    RepeatsEvents,
    TellsOfHiddenChats,
    SkipsEvents,
    BeginsAtTheStart,
    TellsOfAllChats,
    IsEmptyForAbsent,
    PrefersAPartition,
    JoinsPages,
    StaysBehind,
    PassesOverWhatComes,
    TailOmitsApplications,
    NeverWakes,
}

struct BrokenFeed {
    feed: Arc<dyn Feed>,
    fault: FeedFault,
}

impl FeedFault {
    /// Wraps a correct feed in one with this fault.
    pub fn inject(self, feed: Arc<dyn Feed>) -> Arc<dyn Feed> {
        Arc::new(BrokenFeed { feed, fault: self })
    }
}

impl BrokenFeed {
    fn damage(&self, page: &mut FeedPage, after: &Position) {
        match self.fault {
            FeedFault::OmitsAuthorsOfEvents => page.events.iter_mut().for_each(omit_author),
            FeedFault::RepeatsEvents => page.events.extend(page.events.last().cloned()),
            FeedFault::TellsOfHiddenChats => tell_of_a_hidden_chat(&mut page.events),
            // One event of each partition of the page.
            FeedFault::SkipsEvents if page.more => {
                let next: Vec<_> = page.next.bounds().collect();
                next.into_iter().for_each(|(partition, bound)| page.next.extend(partition, bound.next()));
            }
            FeedFault::PrefersAPartition => {
                if let Some(first) = page.events.first().map(|event| event.place.partition) {
                    page.events.retain(|event| event.place.partition == first);
                }
            }
            FeedFault::StaysBehind => {
                page.next = after.clone();
                page.events.iter().for_each(|event| page.next.merge(&event.place.covered()));
            }
            _ => {}
        }
    }

    /// Adds further pages to one.
    async fn join(&self, selection: &FeedSelection, mut page: FeedPage, limit: u32) -> Result<FeedPage, FeedError> {
        while page.more {
            let Some(next) = self.feed.page(selection, &page.next, limit).await? else {
                break;
            };
            page.events.extend(next.events);
            (page.next, page.more) = (next.next, next.more);
        }
        Ok(page)
    }
}

fn omit_author(event: &mut FeedEvent) {
    if let Happening::MessageCreated { author, .. } = &mut event.happening {
        *author = None;
    }
}

/// Adds a message of the chat 2 to a page without any.
fn tell_of_a_hidden_chat(events: &mut Vec<FeedEvent>) {
    if let Some(mut event) = events.last().cloned()
        && let Happening::ChatCreated { chat } = event.happening
    {
        event.happening =
            Happening::MessageCreated { chat, number: message_number(1), body: "hidden".to_owned(), author: None };
        events.push(event);
    }
}

#[async_trait]
impl Feed for BrokenFeed {
    fn concurrent_pages(&self) -> usize {
        self.feed.concurrent_pages()
    }

    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError> {
        let all = FeedSelection { token: selection.token, application: true, chats: None };
        let page = match self.fault {
            FeedFault::BeginsAtTheStart => self.feed.page(selection, &Position::default(), limit).await?,
            FeedFault::TellsOfAllChats => self.feed.page(&all, after, limit).await?,
            _ => self.feed.page(selection, after, limit).await?,
        };
        Ok(match (self.fault, page) {
            (FeedFault::IsEmptyForAbsent, None) => {
                Some(FeedPage { events: Vec::new(), next: after.clone(), more: false })
            }
            (_, None) => None,
            (FeedFault::PassesOverWhatComes, Some(mut page)) => {
                page.next = self.feed.passed(&page.next, SHORT_WAIT).await?;
                Some(page)
            }
            (FeedFault::JoinsPages, Some(page)) => Some(self.join(selection, page, limit).await?),
            (_, Some(mut page)) => {
                self.damage(&mut page, after);
                Some(page)
            }
        })
    }

    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError> {
        let mut page = self.feed.tail(after, limit).await?;
        if self.fault == FeedFault::TailOmitsApplications {
            let first = page.events.first().map(|event| event.token);
            page.events.retain(|event| Some(event.token) == first);
        }
        Ok(page)
    }

    async fn end(&self) -> Result<Position, FeedError> {
        self.feed.end().await
    }

    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError> {
        match self.fault {
            FeedFault::NeverWakes => {
                tokio::time::sleep(within.min(Duration::from_millis(20))).await;
                Ok(seen.clone())
            }
            _ => self.feed.passed(seen, within).await,
        }
    }
}
