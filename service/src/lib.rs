//! What every process of Tally has, whatever it serves.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the parts of the command line that several programs share |
//! | [`program`] | from a command line to an exit code |
//! | [`telemetry`] | logs, and errors as one line |
//! | [`host`] | what every process has around what it serves, and in what order that ends |
//! | [`shutdown`], [`listen`], [`serve`] | from a signal and an address to connections that are drained |
//! | [`router`] | what surrounds the routes of an API: limits, 404, 405, panics, and what is done to every answer |
//! | `conditional`, [`cors`], `gzip`, `headers` | what is done to every answer |
//! | [`metrics`] | how the process is doing, in numbers |
//! | `docs` | OpenAPI and its page |
//! | [`health`], [`healthcheck`] | what is alive, and what is ready; asking another process for it |
//! | [`startup`] | waiting for the servers that a process needs |
//! | [`json`], [`query`], [`path`] | extractors whose refusals are problems |
//! | [`problem`] | RFC 9457 answers |
//!
//! **Architecture invariant:** nothing here knows what is served.

mod conditional;
pub mod config;
pub mod cors;
mod docs;
mod gzip;
mod headers;
pub mod health;
pub mod healthcheck;
pub mod host;
pub mod json;
pub mod listen;
pub mod metrics;
pub mod path;
pub mod problem;
pub mod program;
pub mod query;
pub mod router;
pub mod serve;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
