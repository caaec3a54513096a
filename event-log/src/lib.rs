//! Ports of the write side, and what every adapter of them must do.
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`EventLog`]: append, read from a place, ask for the end |
//! | [`sequencer`] | [`Sequencer`]: reserve the next number of an application or a chat |
//! | [`conformance`] | the contract as assertions, which each adapter's tests run |
//!
//! **Architecture invariant:** the log is the only truth. A sequencer is a cache of what the log says, and may be lost.

#![warn(missing_docs)]

pub mod conformance;
pub mod log;
pub mod sequencer;

pub use log::{AppendError, EventLog, LogBatch, ReadError, ReadLimit, Unreadable};
pub use sequencer::{KEY_MEMORY, Reservation, ReservationGuard, ReserveError, Sequencer, Ticket};

/// An adapter's own error, kept as the source of a port's.
pub type BackendError = Box<dyn std::error::Error + Send + Sync>;
