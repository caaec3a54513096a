//! The adapters of the embedded topology: all ports on SQLite, in one data directory.
//!
//! | module | holds |
//! |---|---|
//! | [`data_dir`] | the directory, with the log and the projections |
//! | [`log`] | [`event_log::EventLog`]: one writer that commits all queued appends as a group |
//! | [`sequencer`] | [`event_log::Sequencer`]: counters in this process, which start from the log |
//! | [`projections`] | [`read_model::ProjectionStore`], [`read_model::Views`], [`read_model::SearchIndex`] |
//! | `compare` | compares two generations of a projection row by row |
//! | [`open_error`] | the errors of opening the directory, with advice for the operator |
//! | `lock` | the lock of the directory |
//! | `file_modes` | who may read the files |
//! | `sqlite` | connections, transactions and statements of both files |
//! | `migrate` | the schemas of both files |
//! | `file_format` | detects a truncated file, which SQLite does not |
//! | `damage` | notices that a database is damaged |
//! | `notes` | notes for the next start: a clean close, or damage |
//!
//! **Architecture invariant:** `log.sqlite` is the truth, and every commit is fsynced. The directory `projections` can be made
//! from it, so an operator may delete that directory whenever the process is stopped.

// The tests inside of the crate share databases with those outside.
#[cfg(test)]
extern crate self as embedded;

mod compare;
mod damage;
pub mod data_dir;
mod file_format;
mod file_modes;
mod lock;
pub mod log;
mod migrate;
mod notes;
pub mod open_error;
pub mod projections;
#[cfg(test)]
mod query_plans;
pub mod sequencer;
mod sqlite;

pub use data_dir::DataDir;
pub use file_format::read_size;
pub use lock::Owner;
pub use log::{ReadOnlyLog, SqliteLog};
pub use open_error::OpenError;
pub use projections::SqliteProjections;
pub use sequencer::SqliteSequencer;
