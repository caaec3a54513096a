//! The published language of Tally: what is written to the log and what readers may rely on for ever.
//!
//! | module | holds |
//! |---|---|
//! | [`event`] | the events themselves and their wire names |
//! | [`event_id`] | which event it is |
//! | [`record`] | an event as the log keeps it: identity, headers, JSON; encoding and decoding |
//! | [`upcast`] | how an old version of an event becomes the current one |
//! | [`stream`] | which stream an event belongs to |
//! | [`request_key`] | what a client's Idempotency-Key becomes |
//! | [`token`], [`number`] | names of applications, chats and messages |
//! | [`position`], [`partitioning`] | places in the log, and which partition a stream lies in |
//! | [`epoch`] | what tells events whose number was given anew |
//! | [`trace`] | which request an event is of, for whoever follows requests through many systems |
//!
//! **Architecture invariant:** no I/O, no clock, no randomness, and no knowledge of any backend. Wire names are
//! written out and never derived from Rust names, so that a refactoring cannot change what is on disk.

#![warn(missing_docs)]

pub mod epoch;
pub mod event;
pub mod event_id;
pub mod number;
pub mod partitioning;
pub mod position;
pub mod record;
pub mod request_key;
pub mod stream;
pub mod token;
pub mod trace;
pub mod upcast;

pub use epoch::{Epoch, EpochStart, Marker};
pub use event::{ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, Event, EventType, MessagePosted};
pub use event_id::EventId;
pub use number::{ChatNumber, MessageNumber, Number};
pub use partitioning::PartitionCount;
pub use position::{Offset, PartitionId, Position};
pub use record::{BrokenEvent, DecodeError, EncodeError, Record, RecordedEvent, UnixMillis};
pub use request_key::RequestKey;
pub use stream::{ChatKey, StreamKey};
pub use token::ApplicationToken;
pub use trace::TraceParent;
