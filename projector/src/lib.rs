//! From the log to what is shown.
//!
//! | module | holds |
//! |---|---|
//! | [`views`], [`counts`], [`search`] | the projections: pure functions from events to changes |
//! | [`epochs`] | which events count |
//! | [`target`] | which projection is fed, and the store that it is written to |
//! | [`feed`] | one batch from the log to a projection |
//! | [`run_loop`] | the one loop that feeds a projection from a partition |
//! | [`assignment`] | a run loop for each partition that this process has been given |
//! | `distributed` | the composition root of the binary, where the feature of that name is on |
//!
//! **Architecture invariant:** a projection is a function of the log alone. It reads no clock, no other projection and no
//! network, so that dropping its tables and reading the log again gives the same tables.

pub mod assignment;
pub mod counts;
#[cfg(feature = "distributed")]
pub mod distributed;
pub mod epochs;
pub mod feed;
pub mod run_loop;
pub mod search;
pub mod target;
pub mod views;

pub use assignment::AssignedPartitions;
pub use feed::Feed;
pub use run_loop::{Fatal, RunLoop, RunLoops, Stopped};
pub use target::Target;
