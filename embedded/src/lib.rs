//! Every port on SQLite, in one data directory: the adapters of the embedded topology.
//!
//! | module | holds |
//! |---|---|
//! | [`data_dir`] | the directory, its lock, its two files |
//! | [`log`] | [`event_log::EventLog`]: one writer that commits whatever is waiting as a group |
//! | [`sequencer`] | [`event_log::Sequencer`]: counters in this process, filled from the log |
//! | [`compare`] | two files of projections, row by row |
//! | [`projections`] | [`read_model::ProjectionStore`], [`read_model::Views`], [`read_model::SearchIndex`] |
//!
//! **Architecture invariant:** `log.sqlite` is the truth and is fsynced at every commit; `views.sqlite` follows from it
//! and may be deleted at any time while the process is stopped.

mod clean_close;
pub mod compare;
pub mod data_dir;
mod file_format;
pub mod log;
pub mod open_error;
pub mod projections;
pub mod sequencer;
mod sqlite;

pub use data_dir::DataDir;
pub use log::SqliteLog;
pub use open_error::OpenError;
pub use projections::SqliteProjections;
pub use sequencer::SqliteSequencer;
