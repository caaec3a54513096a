//! The port that tells what has happened: the events of an application, in order, as `views` has settled them.

use std::time::Duration;

use async_trait::async_trait;
use events::{ApplicationToken, Author, ChatNumber, MessageNumber, Place, Position, UnixMillis};

use crate::BackendError;

/// An event as its readers see it.
///
/// Only what `views` shows is told, and once: no void event, no repeat of a retried request, no dead letter, nothing of a chat that
/// `views` does not show. A message that lies before the creation of its chat is never told, so that all followers are told the same; see
/// [`feed_rows`](crate::feed_rows).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Where the event is in the log.
    pub place: Place,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Its application.
    pub token: ApplicationToken,
    /// What happened.
    pub happening: Happening,
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The application was created.
    ApplicationCreated {
        /// Its first name.
        name: String,
    },
    /// The application was given another name.
    ApplicationRenamed {
        /// Its name from this event on.
        name: String,
    },
    /// A chat was created.
    ChatCreated {
        /// The chat's number.
        chat: ChatNumber,
    },
    /// A message was posted.
    MessageCreated {
        /// The chat's number.
        chat: ChatNumber,
        /// The message's number in the chat.
        number: MessageNumber,
        /// Its text.
        body: String,
        /// Who it is from, if its event says so.
        author: Option<Author>,
    },
}

impl Happening {
    /// The chat that it happened in, or that was created; `None` if it concerns the application itself.
    pub const fn chat(&self) -> Option<ChatNumber> {
        match self {
            Self::ApplicationCreated { .. } | Self::ApplicationRenamed { .. } => None,
            Self::ChatCreated { chat } | Self::MessageCreated { chat, .. } => Some(*chat),
        }
    }
}

/// Which events of an application somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSelection {
    /// The application.
    pub token: ApplicationToken,
    /// Whether what concerns the application itself is told: its creation and its names.
    pub application: bool,
    /// Of which chats events are told, in order of their numbers, each once; `None` for all of them.
    pub chats: Option<Box<[ChatNumber]>>,
}

impl FeedSelection {
    /// Whether the event is one of these.
    pub fn selects(&self, event: &FeedEvent) -> bool {
        event.token == self.token
            && match (event.happening.chat(), &self.chats) {
                (None, _) => self.application,
                (Some(_), None) => true,
                (Some(chat), Some(chats)) => chats.binary_search(&chat).is_ok(),
            }
    }
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The events, in log order within each partition.
    pub events: Vec<FeedEvent>,
    /// Where the next page begins: it covers the position that the page was read after, and every event of the page.
    pub next: Position,
    /// Whether `views` had settled more than this page has, when it was read.
    pub more: bool,
}

/// Reads the feed from `views`.
///
/// - **Exact:** whoever reads on from [`FeedPage::next`] meets each event that is selected once. A partition that a position does not name
///   is read from its beginning.
/// - **Positions of others:** that of a message or of a list of messages can be read after, too, for the events of its chat: it covers
///   what `views` has settled, and no count. That of a read with counts cannot: `counts` may be ahead of `views`, so it covers events
///   that the read has not shown. That of a write covers all before it in its partition, whether its writer has seen it or not.
/// - **One state:** each call reads one state of one generation of `views`. Another generation tells the same.
/// - **Bounded:** a page has at most the events that the caller asks for, and ends with the event that brings its texts to
///   [`MAX_BYTES`](crate::page::MAX_BYTES). While several partitions have more to tell, a page has some of each, and may be shorter
///   than the caller asks for.
#[async_trait]
pub trait Feed: Send + Sync {
    /// The events of a selection behind `after`. `None` if neither the application nor any chat of it exists.
    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError>;

    /// The events of all applications behind `after`.
    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError>;

    /// How far `views` has come: the end of the feed.
    async fn end(&self) -> Result<Position, FeedError>;

    /// Waits until the feed has passed its end `seen` anywhere, for `within` at most, and returns its end.
    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError>;

    /// Pages that may be read at once, so that other reads of the same servers or threads go on meanwhile.
    fn concurrent_pages(&self) -> usize;
}

/// The feed could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The live generation of `views` was made by an earlier release and has no feed. A projector of this release makes one that has.
    #[error("views is being made anew with its feed; try again once that has ended")]
    BeingMade,
    /// The views could not be read.
    #[error("{what} cannot be read")]
    Backend {
        /// Names what was read in the message.
        what: &'static str,
        /// The adapter's error.
        #[source]
        source: BackendError,
    },
}

#[cfg(test)]
mod tests {
    use events::{Offset, PartitionId};

    use super::*;

    #[test]
    fn a_selection_has_its_application_and_its_chats() {
        let token = ApplicationToken::from_bytes([7; 16]);
        let event = |happening| FeedEvent {
            place: Place { partition: PartitionId(0), offset: Offset(3) },
            created_at: UnixMillis(0),
            token,
            happening,
        };
        let renamed = event(Happening::ApplicationRenamed { name: "a".to_owned() });
        let chat = |number: u32| event(Happening::ChatCreated { chat: ChatNumber::new(number).unwrap() });
        let listed = FeedSelection { token, application: false, chats: Some([ChatNumber::new(2).unwrap()].into()) };
        assert!(!listed.selects(&renamed));
        assert!(listed.selects(&chat(2)));
        assert!(!listed.selects(&chat(1)));
        let all = FeedSelection { token, application: true, chats: None };
        assert!(all.selects(&renamed));
        assert!(all.selects(&chat(1)));
        let other = FeedSelection { token: ApplicationToken::from_bytes([8; 16]), ..all };
        assert!(!other.selects(&chat(1)));
    }
}
