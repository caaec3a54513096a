//! The read API: every GET route and search.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP face: convert, call one method, convert back |
//! | [`await_position`] | reading one's own writes |
//! | [`paging`] | `limit`, `after`, `before`, `order` and the Link to the next page |
//! | [`queries`] | what can be asked, one method each |
//! | [`error`] | the one place where failures become statuses |
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
