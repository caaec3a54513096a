//! The read API: every GET route and search.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP face: convert, call one method, convert back |
//! | [`await_position`] | reading one's own writes |
//! | [`paging`] | `limit`, `after`, `before`, `order` and the Link to the next page |
//! | [`queries`] | what can be asked, one method each |
//! | [`error`] | the one place where failures become statuses |
//! | `cli`, `process` | the binary's composition root, with the feature `distributed` |
//!
//! **Architecture invariant:** nothing here writes, and nothing here knows the log.

pub mod await_position;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod error;
pub mod paging;
#[cfg(feature = "distributed")]
pub mod process;
pub mod queries;
pub mod routes;

pub use queries::Queries;
pub use routes::routes;
