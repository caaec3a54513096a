//! The operator's commands. `tally` and `projector` have the same ones, and both carry them out by this module, over ports.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`] | the subcommands and their arguments |
//! | [`command`] | runs a subcommand: its output and its exit code |
//! | [`system`] | the ports: a system that commands work on, and who carries them out |
//! | [`operation`] | what takes a while: a rebuild, a verification |
//! | `verdict` | what a verification has found, in words |
//! | [`status`], [`rates`], [`watch`] | how far the projections are, how fast they are, and both again and again |
//!
//! To add a command: a variant of [`arguments::OperatorCommand`] and its arm in [`command::run`]. If a tally that runs has to carry it
//! out, also a variant of [`operation::Operation`]. What the command needs beyond the ports of [`system`] belongs there.

pub mod arguments;
pub mod command;
pub mod operation;
pub mod rates;
pub mod status;
pub mod system;
mod verdict;
pub mod watch;

pub use arguments::{OperatorCommand, Target};
pub use operation::{Operation, Report, Step};
pub use status::Status;
pub use system::{Local, OpenOperator, Operator, Purpose, System};
