//! The parts that every process of Tally needs, whatever it serves.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the parts of the command line that several programs share |
//! | [`program`] | runs a program and returns its exit code |
//! | [`telemetry`] | logs |
//! | [`host`] | a running process: readiness, metrics, ports, and the order in which they end |
//! | [`shutdown`], [`listen`], [`serve`] | stop on a signal; listen on an address; accept, serve and drain connections |
//! | `open_files` | the limit of open files |
//! | [`router`] | limits, 404, 405 and panics around the routes of an API |
//! | [`wait_limit`] | a bound on requests that only wait |
//! | [`turns`] | gives requests their turns by a key, such as their application |
//! | [`codes`], [`request_id`], `request_log` | the codes of problems; the id of a request; a line of the log for each request |
//! | `conditional`, [`cors`], `gzip`, `security_headers` | layers that change every response |
//! | [`metrics`] | metrics of the process and of its requests |
//! | `docs`, `description` | the page of an API's documentation; the OpenAPI document behind it |
//! | [`front_page`] | the page at `/` |
//! | [`health`], [`healthcheck`] | liveness and readiness; a client that asks another process for them |
//! | [`local_client`] | asks another process on this machine |
//! | [`startup`] | retries until the servers that a process needs are there |
//! | [`json`], [`query`], [`path`] | extractors that reject with problems |
//! | [`answer`] | answers in JSON |
//! | [`streams`] | answers without an end, and how many there may be |
//! | [`request_wait`] | requests that wait for something that has yet to happen |
//! | [`prefer`] | preferences of clients |
//! | [`proxied`] | tells whether a request has come through a proxy |
//! | [`problem`], [`responses`] | RFC 9457 problems; their descriptions for OpenAPI |
//!
//! **Architecture invariant:** this crate depends on no other crate of Tally, so it serves any API.

pub mod answer;
pub mod codes;
mod conditional;
pub mod config;
pub mod cors;
mod description;
mod docs;
pub mod front_page;
mod gzip;
pub mod health;
pub mod healthcheck;
pub mod host;
pub mod json;
pub mod listen;
pub mod local_client;
pub mod metrics;
mod open_files;
pub mod path;
pub mod prefer;
pub mod problem;
pub mod program;
pub mod proxied;
pub mod query;
pub mod request_id;
mod request_log;
pub mod request_wait;
pub mod responses;
pub mod router;
mod security_headers;
pub mod serve;
pub mod shutdown;
pub mod startup;
pub mod streams;
pub mod telemetry;
pub mod turns;
pub mod wait_limit;
