//! What ends a load.

use std::io;
use std::net::SocketAddr;

use super::ANSWER_DEADLINE;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{address} accepts no connection; see what the server has logged")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the load generator cannot wait for answers")]
    Poll(#[source] io::Error),
    #[error("a connection failed; see what the server has logged")]
    Connection(#[source] io::Error),
    #[error("the server closed a connection before it had answered; see what it has logged")]
    Closed,
    #[error("an answer is no HTTP/1.1 with a Content-Length: {0}")]
    Malformed(String),
    #[error("an answer is wrong: {0}")]
    Wrong(String),
    #[error("no answer came within {} s; see what the server has logged", ANSWER_DEADLINE.as_secs())]
    Stalled,
    #[error("the server does not keep up with {per_second:.0} requests/s; {waiting} were still waiting at the end")]
    Behind { per_second: f64, waiting: u64 },
}
