//! What a client sees of the parts that every process has, over real connections.

mod answers;
mod bodies;
mod connections;
mod draining;
mod parameters;
mod server;
