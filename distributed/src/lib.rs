//! Adapters of the ports on servers: Kafka, Redis, MySQL and Elasticsearch.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line's flags for the servers |
//! | [`elastic`] | [`read_model::SearchIndex`] on Elasticsearch |
//! | [`kafka`] | [`event_log::EventLog`] on Kafka, and the assignment of its partitions to processes |
//! | [`mysql`] | [`read_model::ProjectionStore`] and [`read_model::Views`] on MySQL |
//! | [`sequencer`] | [`event_log::Sequencer`] on Redis: epochs, counters, idempotency keys |
//! | [`ports`] | the ports through which one adapter uses another |
//! | `coalesce` | runs an operation once for all callers that need its outcome at the same time |
//! | `shared_poll` | polls a server on behalf of all waiters |
//!
//! **Architecture invariant:** an adapter knows its own server only; it uses another one through [`ports`].

pub mod args;
mod coalesce;
pub mod elastic;
pub mod kafka;
pub mod mysql;
pub mod ports;
pub mod sequencer;
mod shared_poll;
