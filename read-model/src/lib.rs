//! The read side: views, and the ports that keep them.
//!
//! | module | holds |
//! |---|---|
//! | [`view`] | applications, chats and messages as readers see them |
//! | [`shown`] | what a read shows, and how far into the log that goes |
//! | [`page`] | which part of a list a reader asks for, and the part that it gets |
//! | [`folding`] | folds texts, so that search ignores case, accents and compatibility forms |
//! | [`trigrams`] | the trigrams of a folded text, without those that it repeats |
//! | [`counts`] | how many messages a chat has, from numbers that arrive in any order |
//! | [`changes`] | the changes that a batch of events makes to each projection, as data |
//! | [`access_rows`] | the same for keys and voided users, and the numbers of new keys |
//! | [`views_writer`] | writes a batch to `views`, above the SQL of a database |
//! | `conflicts` | decides which of several events under one key a store keeps |
//! | [`dead_letter`] | logs and counts events that cannot be shown |
//! | [`feed`] | the port that tells what has happened, in order |
//! | [`feed_rows`], [`feed_page`] | which events the feed tells, and pages that are fair to all partitions |
//! | [`access`] | the port that reads keys of applications, and users whose tokens were voided |
//! | [`views`], [`store`], [`search_index`] | the ports: read views, write projections, index and search |
//! | [`stop`] | what readers are told of a projection that cannot go on |
//! | [`generations`] | the port that makes a projection anew while readers use it |
//! | [`operating`] | the port of operators: comparing generations, and pauses |
//! | [`conformance`] | the ports' contracts as assertions, which each adapter's tests run |
//!
//! **Architecture invariant:** views are disposable. Everything here can be computed from the log again.

#![warn(missing_docs)]

pub mod access;
pub mod access_rows;
pub mod changes;
mod conflicts;
pub mod conformance;
pub mod counts;
pub mod dead_letter;
pub mod feed;
pub mod feed_page;
pub mod feed_rows;
pub mod folding;
pub mod generations;
pub mod operating;
pub mod page;
pub mod search_index;
pub mod shown;
pub mod stop;
pub mod store;
pub mod trigrams;
pub mod view;
pub mod views;
pub mod views_writer;

pub use access::{Access, AccessChange, AccessChanges, AccessError, AccessKey};
pub use access_rows::{IssuedKey, KeyChange, KeyContent, KeyEvent, KeyRow, RevokedKey, VoidedUser};
pub use changes::{
    AnsweredRequest, ApplicationCountsDelta, ApplicationRow, ChatRow, CountsChanges, DeadLetter, MessageKey,
    MessageRow, NameChange, NameOrigin, Rename, SearchDocument, SourceEvent, StoredLetter, ViewsChanges,
};
pub use counts::ChatCounts;
pub use feed::{Feed, FeedError, FeedEvent, FeedPage, FeedSelection, Happening};
pub use feed_page::{FeedEntry, FeedPageBuilder, FeedRange, FeedSlice};
pub use feed_rows::{FeedRow, Told};
pub use folding::{FoldedText, FoldingVersion, SearchText};
pub use generations::{Build, BuildStore, CatchUp, Difference, GenerationNumber, Generations, GenerationsError, Swap};
pub use operating::{LiveError, LiveGeneration, MAX_COUNTED_LETTERS, OperateGenerations, PauseError, Pauses};
pub use page::{Cursor, Page, Slice};
pub use search_index::{SearchError, SearchIndex, SearchPage};
pub use shown::Shown;
pub use stop::StandsStill;
pub use store::{
    Applied, Checkpoint, CheckpointMove, FIRST_VERSION_WITH_FEED, LoadedCounts, Projection, ProjectionStore,
    StoreError, StoreTime,
};
pub use view::{ApplicationView, ChatView, MessageView};
pub use views::{LastMessage, Views, ViewsError};
pub use views_writer::{ViewsTransaction, write_views};

/// An adapter's own error, which a port's error has as its source.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
