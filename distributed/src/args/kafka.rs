//! The address of Kafka.

use clap::Args;

/// The address of Kafka.
#[derive(Debug, Clone, Args)]
pub struct KafkaArgs {
    /// Brokers of the Kafka that keeps the event log, host:port, several joined by commas
    #[arg(long, env = "TALLY_KAFKA_BROKERS", value_name = "BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,
}
