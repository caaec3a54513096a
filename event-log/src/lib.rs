//! Ports of the write side, and the contract that every adapter must keep.
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`EventLog`]: append, read from an offset, find the end |
//! | [`import_log`] | [`ImportLog`]: append the events of an export, and the marks of the import |
//! | [`recognition`] | recognises the log that a projection was made from |
//! | [`sequencer`] | [`Sequencer`]: reserve the next number of an application or a chat |
//! | [`key_clock`] | [`KeyClock`]: how old the key of a request is |
//! | [`conformance`] | the contract as assertions, which each adapter's tests run |
//!
//! **Architecture invariant:** the log is the only truth. A sequencer is a cache of the log, and may be lost.

#![warn(missing_docs)]

pub mod conformance;
pub mod import_log;
pub mod key_clock;
pub mod log;
pub mod recognition;
pub mod sequencer;

pub use import_log::{ImportLog, LastImport};
pub use key_clock::KeyClock;
pub use log::{
    AppendError, EventLog, Identified, LogBatch, MarkerLog, NewerRecord, PlacedImportMark, ReadError, ReadLimit,
    Unreadable,
};
pub use recognition::{OtherLog, RecognitionError, Source};
pub use sequencer::{KEY_MEMORY, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};

/// An adapter's own error, as the source of a port's error.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
