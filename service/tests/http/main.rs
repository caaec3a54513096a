//! The crate `service` as a client sees it, over real connections.

mod answers;
mod bodies;
mod conditional;
mod connections;
mod cors;
mod docs;
mod draining;
mod greedy_clients;
mod gzip;
mod headers;
mod hosts;
mod metrics;
mod parameters;
mod request_ids;
mod server;
mod streams;
