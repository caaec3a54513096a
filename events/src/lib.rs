//! The published language of Tally: the content of the log, on which readers may rely for ever.
//!
//! | module | holds |
//! |---|---|
//! | [`access`] | keys of applications, and users for whom they mint tokens |
//! | [`event`] | the events themselves and their wire names |
//! | [`event_id`] | the identity of an event |
//! | [`identity`] | the identities of the log and of its records |
//! | [`author`], [`actor`] | who a message is from; who made the request that led to an event |
//! | [`record`] | an event as the log keeps it: identity, headers, JSON; encoding and decoding |
//! | [`upcast`] | upcasters: an old version of an event becomes the current one |
//! | [`structured`] | an event as a line of JSON: CloudEvents in structured mode |
//! | [`import_mark`] | records of an import, and the digest that tells which log an export is of |
//! | [`rfc3339`] | times as CloudEvents write them |
//! | [`stream`] | streams: an application, or a chat with its messages |
//! | [`request_key`] | hashes that identify a request with an Idempotency-Key |
//! | [`text`] | rules for texts that people write |
//! | [`token`], [`number`] | identifiers of applications, chats and messages |
//! | [`position`], [`client_position`], [`partitioning`] | partitions, offsets and positions; what clients get of them; the partition of a stream |
//! | [`epoch`] | epochs of numbering |
//! | [`marker`] | records that are no events: starts of epochs, decisions about dead letters |
//! | [`trace`] | W3C Trace Context of the request that led to an event |
//!
//! **Architecture invariant:** no I/O, no clock, no randomness, and no knowledge of any backend. Wire names are
//! written out and never derived from Rust names, so that a refactoring cannot change what is on disk.

#![warn(missing_docs)]

pub mod access;
pub mod actor;
pub mod author;
pub mod client_position;
pub mod epoch;
pub mod event;
pub mod event_id;
pub mod identity;
pub mod import_mark;
pub mod marker;
pub mod number;
pub mod partitioning;
pub mod position;
pub mod record;
pub mod request_key;
pub mod rfc3339;
pub mod stream;
pub mod structured;
pub mod text;
pub mod token;
pub mod trace;
pub mod upcast;

pub use access::{KeyHash, KeyIssued, KeyRevoked, Scope, Scopes, UserId, UserTokensVoided};
pub use actor::Actor;
pub use author::Author;
pub use client_position::ClientPosition;
pub use epoch::Epoch;
pub use event::{ChatApplicationCreated, ChatApplicationRenamed, ChatCreated, Event, EventType, MessagePosted};
pub use event_id::EventId;
pub use identity::{KnownRecord, LogId, LogMark, RecordId};
pub use import_mark::{ImportMark, ImportPhase, LogDigest};
pub use marker::{Marker, RecordedMarker};
pub use number::{ChatNumber, KeyNumber, MessageNumber, Number};
pub use partitioning::PartitionCount;
pub use position::{Offset, PartitionId, Place, Position};
pub use record::{BrokenEvent, DecodeError, EncodeError, Record, RecordedEvent, UnixMillis};
pub use request_key::RequestKey;
pub use stream::{ChatKey, StreamKey};
pub use token::ApplicationToken;
pub use trace::TraceParent;
