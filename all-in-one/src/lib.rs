//! Tally in one process: both APIs and the projector on the embedded adapters.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`config`] | the command line of `tally` |
//! | [`data`] | an opened data directory |
//! | [`process`] | the process that serves: its adapters, and the order in which everything starts and stops |
//! | [`operator`] | the operator's commands on the data directory of a stopped tally |
//! | [`secrets`] | the secrets in the data directory |
//! | `transfer` | exports from and imports into a data directory |
//! | [`run`] | runs a command |
//! | [`progress`] | progress bars on a terminal |
//!
//! **Architecture invariant:** this is the only crate that knows that the topology is the embedded one.

pub mod cli;
pub mod config;
pub mod data;
pub mod operator;
pub mod process;
pub mod progress;
pub mod run;
pub mod secrets;
mod transfer;

pub use config::Config;
pub use process::Process;
