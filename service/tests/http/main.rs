//! What a client sees of the parts that every process has, over real connections.

mod answers;
mod bodies;
mod conditional;
mod connections;
mod cors;
mod draining;
mod gzip;
mod headers;
mod metrics;
mod parameters;
mod server;
