//! The read API: every GET route and search.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP handlers: convert the request, call one query, convert the result |
//! | [`await_position`] | the headers by which a client reads its own writes |
//! | [`paging`] | `limit`, `after`, `before`, `order` and the Link to the next page |
//! | [`queries`] | the queries, one method each |
//! | [`error`] | the one place where errors become statuses |
//! | `distributed` | the composition root of the binary, where the feature of that name is on |
//!
//! **Architecture invariant:** nothing here writes, and nothing here knows the log.

pub mod await_position;
#[cfg(feature = "distributed")]
pub mod distributed;
pub mod error;
pub mod paging;
pub mod queries;
pub mod routes;

pub use queries::Queries;
pub use routes::routes;
