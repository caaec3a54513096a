//! What is shown, and the ports that keep it.
//!
//! | module | holds |
//! |---|---|
//! | [`view`] | applications, chats and messages as readers see them |
//! | [`page`] | which part of a list is asked for, and what is answered |
//! | [`folding`] | the one notion of "the same text" that search has |
//! | [`counts`] | how many messages a chat has, from numbers that come in any order |
//! | [`changes`] | what a batch of events does to each projection, as data |
//! | [`dead_letter`] | how operators are told of events that cannot be shown |
//! | [`views`], [`store`], [`search_index`] | the ports: read views, write projections, index and search |
//! | [`conformance`] | the contracts as assertions, which each adapter's tests run |
//!
//! **Architecture invariant:** views are disposable. Nothing here is true by itself; all of it follows from the log.

#![warn(missing_docs)]

pub mod changes;
pub mod conformance;
pub mod counts;
pub mod dead_letter;
pub mod folding;
pub mod page;
pub mod search_index;
pub mod store;
pub mod view;
pub mod views;

pub use changes::{
    AnsweredRequest, ApplicationCountsDelta, ApplicationRow, ChatRow, CountsChanges, DeadLetter, LogPlace, MessageRow,
    NameChange, NameOrigin, SearchDocument, ViewsChanges,
};
pub use counts::ChatCounts;
pub use folding::SearchText;
pub use page::{Cursor, Page, Slice};
pub use search_index::{SearchError, SearchIndex};
pub use store::{Applied, Checkpoint, CheckpointMove, Projection, ProjectionStore, StoreError};
pub use view::{ApplicationView, ChatView, MessageView};
pub use views::{Views, ViewsError};

/// An adapter's own error, kept as the source of a port's.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
