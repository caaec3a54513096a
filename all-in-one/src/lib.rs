//! Tally in one process: both APIs and the projector on the embedded adapters.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`config`] | the command line of `tally` |
//! | [`data`] | an opened data directory |
//! | [`process`] | serving: which adapter serves which port, and in what order all of it starts and stops |
//! | [`operator`] | what is done with a stopped data directory |
//! | [`run`] | from the command line to what it asks for |
//! | [`progress`] | progress on a terminal |
//!
//! **Architecture invariant:** this is the only crate that knows that the topology is the embedded one.

pub mod cli;
pub mod config;
pub mod data;
pub mod operator;
pub mod process;
pub mod progress;
pub mod run;

pub use config::Config;
pub use process::Process;
