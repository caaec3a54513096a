//! The write API: commands become events in the log.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the HTTP face: convert, call one method, convert back |
//! | [`commands`] | what can be asked for, one method each |
//! | [`application`], [`chat`] | the aggregates, which decide |
//! | [`text`] | what a name and a body may be |
//! | [`idempotency_key`] | the header by which a POST may be sent again |
//! | `trace` | the header by which a request belongs to a trace |
//! | [`numbers`] | the services of the aggregates: existence of parents, next numbers |
//! | [`executor`], [`event_store`] | load, handle, commit: from a command to records in the log |
//! | [`error`] | the one place where refusals become statuses |
//! | `cli`, `process` | the binary's composition root, with the feature `distributed` |
//!
//! **Architecture invariant:** an answer of success is sent only after the log has acknowledged the event.

pub mod application;
pub mod chat;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod commands;
pub mod error;
pub mod event_store;
pub mod executor;
pub mod idempotency_key;
pub mod numbers;
#[cfg(feature = "distributed")]
pub mod process;
pub mod routes;
pub mod text;
mod trace;

pub use commands::Commands;
pub use idempotency_key::IdempotencyKey;
pub use routes::{PublicUrl, routes};
