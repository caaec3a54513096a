//! Settings and logging that all librdkafka clients share.

use event_log::BackendError;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

use super::cluster::Cluster;

/// Names our clients in the logs and quotas of the brokers.
const CLIENT_ID: &str = "tally";

/// A client of librdkafka cannot be created, because librdkafka refuses a setting. Brokers that are away never cause
/// it.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka refuses the settings of a Kafka client; check the list of brokers")]
pub struct ConnectError(#[source] pub(super) KafkaError);

/// The consumer that reads the log. One consumer has a cursor in several partitions, at most one in each.
pub(super) type LogConsumer = BaseConsumer<LoggingContext>;

/// Settings of every client: where the brokers are, and how soon a client reconnects to a broker that was away.
pub(super) fn base_config(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &cluster.brokers)
        .set("client.id", CLIENT_ID)
        // `prepare` alone creates the topic, with the settings it needs. A client's request for it must not.
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000");
    config
}

/// A context that only logs.
#[derive(Debug, Clone, Default)]
pub(super) struct LoggingContext;

impl ClientContext for LoggingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for LoggingContext {}

/// Logs a line of librdkafka, as a warning at most: librdkafka retries after its own errors.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Logs an error of a client that belongs to no single call.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "librdkafka", %error, reason, "a Kafka client reports an error");
}

/// Runs `call`, which waits for a broker, on a thread that may block.
pub(super) async fn run_blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BackendError> {
    Ok(tokio::task::spawn_blocking(call).await??)
}
