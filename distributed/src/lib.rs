//! The ports on servers: Kafka, Redis, MySQL and Elasticsearch.
//!
//! | module | holds |
//! |---|---|
//!
//! **Architecture invariant:** a port's adapter knows its own server only.
