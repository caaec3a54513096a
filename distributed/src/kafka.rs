//! The event log on Kafka: one topic of [`PARTITIONS`] partitions, never compacted and kept for ever.
//!
//! | module | holds |
//! |---|---|
//! | `log` | [`KafkaLog`], the port, built from the parts below |
//! | `import` | the log as the target of an import |
//! | `cluster` | brokers, topic and number of partitions |
//! | `producer` | appends records |
//! | `producer_health` | whether the brokers are away, and whether the producer is broken |
//! | `consumer_pool` | lends a cursor of the process to each read |
//! | `partition_cursor` | reads one partition from an offset on |
//! | `watermarks` | where partitions begin and end |
//! | `topic` | creates the topic, and refuses one that would lose or move events |
//! | `codec` | how records look on the wire |
//! | `consumer_group` | [`Membership`]: which partitions are assigned to this process |
//! | `client`, `background_drop` | settings, logging and disposal of all librdkafka clients |
//!
//! **Architecture invariant:** no thread of the async runtime calls a function of librdkafka that may wait for a
//! broker. Each module bounds its own waits for brokers by a constant. A `partition_cursor` does call librdkafka on the
//! runtime's threads, to assign, unassign and poll: librdkafka's own main thread answers these calls, and waits for no
//! broker.

mod background_drop;
mod client;
mod cluster;
mod codec;
mod consumer_group;
mod consumer_pool;
mod import;
mod log;
mod partition_cursor;
mod producer;
mod producer_health;
mod topic;
mod watermarks;

pub use self::client::ConnectError;
pub use self::cluster::{Cluster, PARTITIONS, TOPIC};
pub use self::consumer_group::{JoinError, Membership};
pub use self::log::KafkaLog;
pub use self::topic::PrepareError;
