//! The read API: every GET route and search.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP handlers: convert the request, call one query, convert the result |
//! | [`await_position`] | the headers by which a client reads its own writes |
//! | `log_position` | the header that says how far into the log an answer goes |
//! | [`paging`] | `limit`, `after`, `before`, `order` and the Link to the next page |
//! | [`queries`] | the queries, one method each |
//! | [`error`] | the one place where errors become statuses |
//! | `cli`, `process` | the binary's composition root, with the feature `distributed` |
//!
//! **Architecture invariant:** this crate only reads, and only from projections, never from the log.

pub mod await_position;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod error;
mod log_position;
pub mod paging;
#[cfg(feature = "distributed")]
pub mod process;
pub mod queries;
pub mod routes;

pub use queries::Queries;
pub use routes::routes;
