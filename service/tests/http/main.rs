//! The crate `service` as a client sees it, over real connections.

mod answers;
mod bodies;
mod conditional;
mod connections;
mod cors;
mod docs;
mod draining;
mod gzip;
mod headers;
mod metrics;
mod parameters;
mod server;
