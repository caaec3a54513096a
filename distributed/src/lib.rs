//! The ports on servers: Kafka, Redis, MySQL and Elasticsearch.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line's flags for the servers |
//! | [`elastic`] | [`read_model::SearchIndex`] on Elasticsearch |
//! | [`kafka`] | [`event_log::EventLog`] on Kafka, and who of several processes reads which partition |
//! | [`mysql`] | [`read_model::ProjectionStore`] and [`read_model::Views`] on MySQL |
//! | [`sequencer`] | [`event_log::Sequencer`] on Redis: epochs, counters, keys of requests |
//!
//! **Architecture invariant:** a port's adapter knows its own server only.

pub mod args;
mod coalesce;
pub mod elastic;
mod hex;
pub mod kafka;
pub mod mysql;
pub mod sequencer;
mod shared_poll;
