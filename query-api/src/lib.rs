//! The read API: every GET route and search.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP handlers: convert the request, call one query, convert the result |
//! | `answer`, `known_log` | what a query answers; the log by which positions of clients are recognised and marked |
//! | [`await_position`] | the headers by which a client reads its own writes |
//! | [`feed`] | the feed: events as they happen, and from any position on |
//! | `include` | the parameter that names further members of an answer |
//! | `items` | applications, chats and messages as answers show them |
//! | `log_position` | the header that says how far into the log an answer goes |
//! | `keys` | keys: the query, and the items of its answer |
//! | `own` | lists that show a principal what is its own |
//! | [`paging`] | `limit`, `after`, `before`, `order` and the Link to the next page |
//! | [`queries`] | the queries, one method each |
//! | [`error`], [`codes`] | the one place where errors become statuses; the codes of problems |
//! | `cli`, `process` | the binary's composition root, with the feature `distributed` |
//!
//! **Architecture invariant:** this crate only reads, and only from projections, never from the log.

mod answer;
pub mod await_position;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod codes;
pub mod error;
pub mod feed;
pub mod front_page;
mod include;
mod items;
mod keys;
mod known_log;
mod log_position;
mod own;
pub mod paging;
#[cfg(feature = "distributed")]
pub mod process;
pub mod queries;
pub mod routes;

pub use feed::FeedQueries;
pub use queries::Queries;
pub use routes::routes;
