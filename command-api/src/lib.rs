//! The write API: commands become events in the log.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@routes`] | the routes: convert, call one method, convert back |
//! | [`commands`] | the commands, one method each: reserve, decide, append |
//! | [`application`], [`chat`] | the aggregates: turn a command, with its reserved number or token, into an event |
//! | `decide` | runs an aggregate |
//! | [`keys`] | keys of applications: the commands, and the wait for what the log makes of them |
//! | [`writer`] | calls the ports for one command: reserves, appends, opens |
//! | `position_marks` | marks the positions that clients get by their log |
//! | [`text`] | names and bodies |
//! | [`idempotency_key`] | the header Idempotency-Key, with which a client may repeat a POST |
//! | `trace` | the header traceparent |
//! | [`error`] | the one place where errors become statuses |
//! | `cli`, `process` | the binary's composition root, with the feature `distributed` |
//!
//! **Architecture invariant:** a client is answered with success only after the log has acknowledged the event.

pub mod application;
pub mod chat;
#[cfg(feature = "distributed")]
pub mod cli;
pub mod codes;
pub mod commands;
mod decide;
pub mod error;
pub mod front_page;
pub mod idempotency_key;
pub mod keys;
mod position_marks;
#[cfg(feature = "distributed")]
pub mod process;
pub mod routes;
pub mod text;
mod trace;
pub mod writer;

pub use commands::Commands;
pub use idempotency_key::IdempotencyKey;
pub use routes::{PublicUrl, routes};
