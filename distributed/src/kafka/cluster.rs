//! Where the log is.

use events::PartitionCount;

/// The topic of a production system.
pub const TOPIC: &str = "chat.events";

/// Number of the topic's partitions. It decides the partition of every stream, so it is fixed for the life of a log.
pub const PARTITIONS: PartitionCount = match PartitionCount::new(12) {
    Some(count) => count,
    None => unreachable!(),
};

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Some of the brokers, `host:port`, separated by commas. Clients learn the others from them.
    pub brokers: String,
    pub topic: String,
}

impl Cluster {
    /// The cluster with these brokers, and [`TOPIC`] on it.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), topic: TOPIC.to_owned() }
    }
}
