//! The load generator: one thread that sends requests over a fixed number of connections and times the answers.
//!
//! It shares the machine with the server that it measures, so it does as little as possible: requests are copied from
//! prepared bytes, and of an answer only the head is parsed.

mod answer;
mod connection;
mod cpu;
mod driver;
mod error;
mod latencies;
mod schedule;
mod timer;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use answer::{Answer, MAX_FIELDS, parse_answer};
pub(crate) use driver::run;
pub(crate) use error::LoadError;
pub(crate) use latencies::Round;

/// Longest wait for any answer.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Most connections of one load.
pub(crate) const MAX_CONNECTIONS: usize = 1_024;

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends its next request as soon as it has an answer. For throughput.
    Closed,
    /// Requests are due at a fixed rate, and latency counts from the moment when a request was due, even if all
    /// connections were waiting then. For latency.
    Open { per_second: f64 },
}

/// How a workload is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Answers of this time are checked but not measured.
    pub(crate) warm_up: Duration,
    /// The time that is measured.
    pub(crate) measured: Duration,
    pub(crate) pace: Pace,
}

/// Makes requests and checks their answers.
pub(crate) trait Workload {
    /// Appends the next request to `out` and returns a tag that the answer comes back with, or `None` if there are no
    /// more.
    fn request(&mut self, out: &mut Vec<u8>) -> Option<u64>;

    /// Checks an answer. An error, which says what is wrong, ends the run.
    fn check(&mut self, tag: u64, answer: &Answer<'_>) -> Result<(), String>;
}
