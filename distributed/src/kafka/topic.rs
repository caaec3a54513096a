//! Creates the topic, and refuses one that would lose events or place them in other partitions.

use std::sync::Arc;
use std::time::Duration;

use event_log::BackendError;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::background_drop::BackgroundDrop;
use super::client::{self, LoggingContext};
use super::cluster::{Cluster, PARTITIONS};

/// How long a broker may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take until the brokers describe it.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two requests for the description of a new topic.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Leaves the number of replicas to the broker's settings.
const DEFAULT_REPLICATION: i32 = -1;
/// Kafka's value for "no bound".
const UNBOUNDED: &str = "-1";

/// Why the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The brokers do not answer, or report an error.
    #[error("the topic {topic} cannot be prepared on Kafka")]
    Unavailable {
        topic: String,
        #[source]
        source: BackendError,
    },
    /// Events that were written now would lie between those that are imported.
    #[error(
        "an import into the topic {topic} has not ended, and nothing else is written until it has; if it was stopped, run projector \
         import again with the same export"
    )]
    Importing { topic: String },
    #[error(
        "the topic {topic} has {found} partitions, and this program needs {}: the partition of every event follows from \
         that number, so it cannot be changed; use another cluster, or, if the topic holds nothing of value, delete it and \
         start again", PARTITIONS.get()
    )]
    Partitions { topic: String, found: usize },
    #[error(
        "the topic {topic} has {setting}={found}, which deletes events, and all of them are needed for ever; set it to \
         {needed} (kafka-configs --alter --topic {topic} --add-config {setting}={needed}), and check that no event is lost \
         yet"
    )]
    Loses { topic: String, setting: &'static str, found: String, needed: &'static str },
}

impl PrepareError {
    /// Whether the error stays until the operator changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Partitions { .. } | Self::Loses { .. })
    }
}

type Admin = BackgroundDrop<AdminClient<LoggingContext>>;

/// See [`super::KafkaLog::prepare`].
pub(super) async fn prepare(cluster: &Cluster) -> Result<(), PrepareError> {
    let topic = cluster.topic.as_str();
    let unavailable = |source| PrepareError::Unavailable { topic: topic.to_owned(), source };
    let admin = client::base_config(cluster).create_with_context(LoggingContext);
    let admin = Arc::new(Admin::new(admin.map_err(|error| unavailable(error.into()))?));
    let description = match describe(&admin, topic).await.map_err(unavailable)? {
        Some(description) => description,
        None => {
            create(&admin, topic).await.map_err(unavailable)?;
            wait_until_described(&admin, topic).await.map_err(unavailable)?
        }
    };
    if description.partitions != usize::from(PARTITIONS.get()) {
        return Err(PrepareError::Partitions { topic: topic.to_owned(), found: description.partitions });
    }
    let settings = fetch_settings(&admin, topic).await.map_err(unavailable)?;
    check_retention(topic, &settings)?;
    if description.brokers > 1 {
        warn_of_weak_replication(topic, &settings, description.replicas);
    }
    Ok(())
}

/// What brokers say about a topic that exists.
struct Description {
    partitions: usize,
    /// Of the partition with the fewest replicas.
    replicas: usize,
    brokers: usize,
}

async fn describe(admin: &Arc<Admin>, name: &str) -> Result<Option<Description>, BackendError> {
    let admin = Arc::clone(admin);
    let name = name.to_owned();
    client::run_blocking(move || {
        let metadata = admin.inner().fetch_metadata(Some(&name), REQUEST_TIMEOUT)?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            Some(code) => return Err(KafkaError::MetadataFetch(code)),
        }
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        Ok(Some(Description {
            partitions: topic.partitions().len(),
            replicas: replicas.unwrap_or_default(),
            brokers: metadata.brokers().len(),
        }))
    })
    .await
}

/// Creates the topic, unless another process has just done so.
async fn create(admin: &Admin, name: &str) -> Result<(), BackendError> {
    let replication = TopicReplication::Fixed(DEFAULT_REPLICATION);
    let topic = NewTopic::new(name, PARTITIONS.get().into(), replication)
        .set("cleanup.policy", "delete")
        .set("retention.ms", UNBOUNDED)
        .set("retention.bytes", UNBOUNDED)
        .set("message.timestamp.type", "CreateTime");
    for result in admin.create_topics([&topic], &admin_options()).await? {
        match result {
            Ok(_) => tracing::info!(topic = name, partitions = PARTITIONS.get(), "created the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

async fn wait_until_described(admin: &Arc<Admin>, name: &str) -> Result<Description, BackendError> {
    let described = async {
        loop {
            match describe(admin, name).await? {
                Some(description) if description.partitions > 0 => return Ok(description),
                _ => tokio::time::sleep(POLL_PAUSE).await,
            }
        }
    };
    tokio::time::timeout(CREATION_TIMEOUT, described).await?
}

async fn fetch_settings(admin: &Admin, name: &str) -> Result<ConfigResource, BackendError> {
    let results = admin.describe_configs([&ResourceSpecifier::Topic(name)], &admin_options()).await?;
    let result = results.into_iter().next().ok_or(KafkaError::AdminOp(RDKafkaErrorCode::NoEnt))?;
    Ok(result.map_err(KafkaError::AdminOp)?)
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// Refuses settings by which Kafka deletes events.
fn check_retention(topic: &str, settings: &ConfigResource) -> Result<(), PrepareError> {
    for (setting, needed) in [("cleanup.policy", "delete"), ("retention.ms", UNBOUNDED), ("retention.bytes", UNBOUNDED)]
    {
        let found = setting_value(settings, setting);
        if found != needed {
            return Err(PrepareError::Loses { topic: topic.to_owned(), setting, found: found.to_owned(), needed });
        }
    }
    Ok(())
}

/// Warns of settings by which a cluster of several brokers loses events when some of them fail.
fn warn_of_weak_replication(topic: &str, settings: &ConfigResource, replicas: usize) {
    if replicas < 2 {
        tracing::warn!(topic, replicas, "each event is on one broker only, and is lost with it; add replicas");
    }
    let in_sync = setting_value(settings, "min.insync.replicas");
    if in_sync.parse().unwrap_or(0) < 2 {
        tracing::warn!(topic, in_sync, "an event may be acknowledged by one broker only; set min.insync.replicas to 2");
    }
    if setting_value(settings, "unclean.leader.election.enable") == "true" {
        tracing::warn!(topic, "acknowledged events may be lost; set unclean.leader.election.enable to false");
    }
}

/// Empty if the broker does not know the setting.
fn setting_value<'a>(settings: &'a ConfigResource, name: &str) -> &'a str {
    settings.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}
