//! Tally in one process: both APIs and the projector on the embedded adapters.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the command line of `tally` |
//! | [`process`] | which adapter serves which port, and in what order all of it starts and stops |
//!
//! **Architecture invariant:** this is the only crate that knows that the topology is the embedded one.

pub mod config;
pub mod process;

pub use config::Config;
pub use process::Process;
