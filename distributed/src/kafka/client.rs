//! What all clients of librdkafka have in common.

use event_log::BackendError;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

use super::Cluster;

/// How the broker knows our clients in its own logs and quotas.
const CLIENT_ID: &str = "tally";

/// The client could not be made: a setting is refused. It never means that brokers are away.
#[derive(Debug, thiserror::Error)]
#[error("no client for Kafka can be made with these settings; look at the list of brokers")]
pub struct ConnectError(#[source] pub(super) KafkaError);

/// Settings of every client: where the brokers are, and how soon one that was away is tried again.
pub(super) fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &cluster.brokers)
        .set("client.id", CLIENT_ID)
        // The topic is made by `prepare`, with its settings, and never by being asked for.
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000");
    config
}

/// A context that only passes librdkafka's words on.
#[derive(Debug, Clone, Default)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        pass_on(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        pass_on_error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

/// Logs what librdkafka has to say. It retries what it complains of, so that nothing of it is an error of ours.
pub(super) fn pass_on(level: RDKafkaLogLevel, facility: &str, message: &str) {
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

/// Logs a client's error that concerns no single call.
pub(super) fn pass_on_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "librdkafka", %error, reason, "Kafka");
}

/// Runs what waits for a broker on a thread that may be kept waiting.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, BackendError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(error) => Err(error.into()),
    }
}
