//! The log on Kafka keeps its contract, and what Kafka adds to the log works: the topic and its settings, markers, consumer
//! groups, brokers that go away.
//!
//! Every test has its own topic on a Kafka that all tests share. Faults of brokers are injected into librdkafka's mock cluster.

pub(crate) mod away;
mod damage;
pub(crate) mod group;
pub(crate) mod partitioning;
pub(crate) mod reading;
pub(crate) mod support;
pub(crate) mod topic;

pub(crate) use self::support::{DEADLINE, fresh_chat, message, until};

tests!(; conformance on support::on_a_topic: event_log::log_conformance, event_log::import_conformance;
    modules: away, damage, group, partitioning, reading, topic);
