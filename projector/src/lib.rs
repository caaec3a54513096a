//! The projections, and the loop that feeds them from the log.
//!
//! | module | holds |
//! |---|---|
//! | [`views`], [`counts`], [`search`] | the projections: pure functions from events to changes, and the sink that applies them |
//! | [`sink`] | the port between a run loop and a projection |
//! | [`epochs`] | void events, which no projection applies |
//! | [`feed`] | moves batches from a partition of the log to a projection |
//! | `parked` | the records of a partition that operators have parked |
//! | [`run_loop`] | the loop over a feed: when to read, retry, stop and report readiness |
//! | [`lag`] | how far projections are behind, as metrics |
//! | [`dead_letters`] | the operator's command `dead-letters` |
//! | [`rebuild`](mod@rebuild) | makes a projection anew while readers use it |
//! | [`export`](mod@export), [`import`](mod@import) | write the events of a log to a file; bring them into an empty log |
//! | [`export_file`] | the file between the two |
//! | [`transfer`] | the commands `export` and `import` |
//! | [`operate`] | the operator's commands |
//! | `retries` | the pauses of whoever reads a log from its start |
//! | [`progress`] | shows how far a long run is |
//! | [`assignment`] | a run loop for each partition that is assigned to this process |
//! | `deployment` | how each projection runs on servers: its port, its server, its help |
//! | [`upgrade`] | makes anew what an earlier release has left |
//! | `cli`, `process`, `feeder`, `servers` | the binary's composition root |
//!
//! `deployment`, `cli`, `process`, `feeder` and `servers` exist only with the feature `distributed`.
//!
//! **Architecture invariant:** a projection is a function of the log alone. It reads no clock, no other projection and no
//! network, so that dropping its tables and reading the log again gives the same tables.

pub mod assignment;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod counts;
pub mod dead_letters;
#[cfg(feature = "distributed")]
mod deployment;
pub mod epochs;
pub mod export;
pub mod export_file;
pub mod feed;
#[cfg(feature = "distributed")]
mod feeder;
pub mod import;
pub mod lag;
pub mod operate;
mod parked;
#[cfg(feature = "distributed")]
pub mod process;
pub mod progress;
pub mod rebuild;
mod retries;
pub mod run_loop;
pub mod search;
#[cfg(feature = "distributed")]
pub mod servers;
pub mod sink;
pub mod transfer;
pub mod upgrade;
pub mod views;

pub use assignment::AssignedPartitions;
pub use feed::Feed;
pub use run_loop::{Fatal, RunLoop, RunLoops, Stopped};
pub use sink::ProjectionSink;
