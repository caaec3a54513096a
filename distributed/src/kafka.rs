//! The event log on Kafka, and who of several processes reads which partition.
//!
//! | module | holds |
//! |---|---|
//! | `codec` | a record as Kafka keeps it: CloudEvents headers and JSON |
//! | [`log`] | [`KafkaLog`]: appending, markers, where the log ends |
//! | `reader` | reading one partition on from where the last read ended |
//! | `topic` | the topic as it must be: made if it is missing, checked if it is there |
//! | [`membership`] | which partitions are this process's own |

mod codec;
pub mod log;
pub mod membership;
mod reader;
mod topic;

use events::PartitionCount;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

pub use log::KafkaLog;
pub use membership::Membership;
pub use topic::PrepareError;

/// The topic of all events.
pub const TOPIC: &str = "chat.events";

/// How many partitions the topic has, for its whole life: which one a stream lies in depends on it.
pub const PARTITIONS: PartitionCount = match PartitionCount::new(12) {
    Some(count) => count,
    None => unreachable!(),
};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("no Kafka client can be made; is the list of brokers host:port, joined by commas?")]
pub struct ClientError(#[source] KafkaError);

/// What all clients are told: how soon to give up a connection, and to try for another.
fn client_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", "tally")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("socket.timeout.ms", "5000")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.fast.interval.ms", "100");
    config
}

/// Kafka counts partitions in 32 bits with a sign.
fn partition_number(partition: events::PartitionId) -> i32 {
    i32::from(partition.0)
}
