//! The event log on Kafka: one topic of [`PARTITIONS`] partitions, never compacted and kept for ever.
//!
//! | module | holds |
//! |---|---|
//! | `log` | [`KafkaLog`], the port, put together from the parts below |
//! | `producer` | the producer: appends, and whether the brokers are away |
//! | `consumer_pool` | which of the process's places in a partition serves a read |
//! | `partition_cursor` | one place in one partition, and the records from there on |
//! | `watermarks` | where partitions begin and end |
//! | `topic` | making the topic, and refusing one that would lose or move events |
//! | `codec`, `rfc3339` | what a record looks like on the wire |
//! | `consumer_group` | [`Membership`]: which partitions are this process's own |
//! | `client`, `off_thread` | what all clients of librdkafka have in common |
//!
//! **Invariant:** nothing that librdkafka may keep waiting is called on a thread of the async runtime, and every wait
//! for a broker is bounded by a constant of its module. What a `partition_cursor` asks of librdkafka on such a thread (assigning, letting
//! go, and taking from its queue what lies there) is answered by librdkafka's own main thread, which waits for no broker.

mod client;
mod codec;
mod consumer_group;
mod consumer_pool;
mod log;
mod off_thread;
mod partition_cursor;
mod producer;
mod rfc3339;
mod topic;
mod watermarks;

use events::PartitionCount;

pub use self::client::ConnectError;
pub use self::consumer_group::{JoinError, Membership};
pub use self::log::KafkaLog;
pub use self::partition_cursor::Missing;
pub use self::topic::PrepareError;

/// The topic of a production system.
pub const TOPIC: &str = "chat.events";

/// How many partitions the topic has. A stream's partition follows from it, so it is fixed for the life of a log.
pub const PARTITIONS: PartitionCount = match PartitionCount::new(12) {
    Some(count) => count,
    None => unreachable!(),
};

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Some of its brokers, from which the others are learned: `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
}

impl Cluster {
    /// The cluster with these brokers, and [`TOPIC`] on it.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), topic: TOPIC.to_owned() }
    }
}
