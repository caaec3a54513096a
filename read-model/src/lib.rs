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
//! | [`views_writer`] | writes a batch to `views`, above the SQL of a database |
//! | `conflicts` | decides which of several events under one key a store keeps |
//! | [`dead_letter`] | logs and counts events that cannot be shown |
//! | [`views`], [`store`], [`search_index`] | the ports: read views, write projections, index and search |
//! | [`stop`] | what readers are told of a projection that cannot go on |
//! | [`generations`] | the port that makes a projection anew while readers use it |
//! | [`operating`] | the port of operators: comparing generations, and pauses |
//! | [`conformance`] | the ports' contracts as assertions, which each adapter's tests run |
//!
//! **Architecture invariant:** views are disposable. Everything here can be computed from the log again.

#![warn(missing_docs)]

pub mod changes;
mod conflicts;
pub mod conformance;
pub mod counts;
pub mod dead_letter;
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

pub use changes::{
    AnsweredRequest, ApplicationCountsDelta, ApplicationRow, ChatRow, CountsChanges, DeadLetter, MessageKey,
    MessageRow, NameChange, NameOrigin, Rename, SearchDocument, SourceEvent, ViewsChanges,
};
pub use counts::ChatCounts;
pub use folding::{FoldedText, FoldingVersion, SearchText};
pub use generations::{Build, BuildStore, CatchUp, Difference, GenerationNumber, Generations, GenerationsError, Swap};
pub use operating::{LiveError, LiveGeneration, MAX_COUNTED_LETTERS, OperateGenerations, PauseError, Pauses};
pub use page::{Cursor, Page, Slice};
pub use search_index::{SearchError, SearchIndex, SearchPage};
pub use shown::Shown;
pub use stop::StandsStill;
pub use store::{Applied, Checkpoint, CheckpointMove, LoadedCounts, Projection, ProjectionStore, StoreError};
pub use view::{ApplicationView, ChatView, MessageView};
pub use views::{Views, ViewsError};
pub use views_writer::{ViewsTransaction, write_views};

/// An adapter's own error, which a port's error has as its source.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
