//! Making the topic, and refusing one that would lose events or put them elsewhere.

use std::time::Duration;

use event_log::BackendError;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{self, Quiet};
use super::off_thread::OffThread;
use super::{Cluster, PARTITIONS};

/// How long a broker may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take until every broker knows of it.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks for a new topic.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The broker's own choice.
const DEFAULT_REPLICATION: i32 = -1;
/// How `-1` is written where Kafka means "no bound".
const UNBOUNDED: &str = "-1";

/// Why the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The brokers do not answer, or answer with an error of their own.
    #[error("Kafka cannot be asked for the topic {topic}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// The topic has another number of partitions.
    #[error(
        "the topic {topic} has {found} partitions, and this program needs {}: the place of every event follows from that \
         number, so it cannot be changed; use another cluster, or, if the topic holds nothing of value, delete it and \
         start again", PARTITIONS.get()
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: usize,
    },
    /// The topic would lose events.
    #[error(
        "the topic {topic} has {setting}={found}, which loses events: all of them are needed for ever; set it to {needed} \
         (kafka-configs --alter --topic {topic} --add-config {setting}={needed}), and make sure that nothing is lost yet"
    )]
    Loses {
        /// The topic.
        topic: String,
        /// The setting that makes it lose them.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The value it must have.
        needed: &'static str,
    },
}

impl PrepareError {
    /// Whether it stays until somebody changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Partitions { .. } | Self::Loses { .. })
    }
}

type Admin = OffThread<AdminClient<Quiet>>;

/// See [`super::KafkaLog::prepare`].
pub(super) async fn prepare(cluster: &Cluster) -> Result<(), PrepareError> {
    let topic = cluster.topic.as_str();
    let unavailable = |source| PrepareError::Unavailable { topic: topic.to_owned(), source };
    let admin = client::config(cluster).create_with_context(Quiet).map_err(|error| unavailable(error.into()))?;
    let admin = std::sync::Arc::new(Admin::new(admin));
    let shape = match shape(&admin, topic).await.map_err(unavailable)? {
        Some(shape) => shape,
        None => {
            create(&admin, topic).await.map_err(unavailable)?;
            until_known(&admin, topic).await.map_err(unavailable)?
        }
    };
    if shape.partitions != usize::from(PARTITIONS.get()) {
        return Err(PrepareError::Partitions { topic: topic.to_owned(), found: shape.partitions });
    }
    let settings = settings(&admin, topic).await.map_err(unavailable)?;
    refuse_loss(topic, &settings)?;
    if shape.brokers > 1 {
        warn_of_weak_replication(topic, &settings, shape.replicas);
    }
    Ok(())
}

/// What brokers say of a topic that exists.
struct Shape {
    partitions: usize,
    /// Of the partition that has fewest.
    replicas: usize,
    brokers: usize,
}

async fn shape(admin: &std::sync::Arc<Admin>, name: &str) -> Result<Option<Shape>, BackendError> {
    let (admin, name) = (std::sync::Arc::clone(admin), name.to_owned());
    client::blocking(move || {
        let metadata = admin.inner().fetch_metadata(Some(&name), ANSWER_TIMEOUT)?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            Some(code) => return Err(KafkaError::MetadataFetch(code)),
        }
        let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        Ok(Some(Shape {
            partitions: topic.partitions().len(),
            replicas: replicas.unwrap_or_default(),
            brokers: metadata.brokers().len(),
        }))
    })
    .await
}

/// Makes the topic, unless another process has just done so.
async fn create(admin: &Admin, name: &str) -> Result<(), BackendError> {
    let replication = TopicReplication::Fixed(DEFAULT_REPLICATION);
    let topic = NewTopic::new(name, PARTITIONS.get().into(), replication)
        .set("cleanup.policy", "delete")
        .set("retention.ms", UNBOUNDED)
        .set("retention.bytes", UNBOUNDED)
        .set("message.timestamp.type", "CreateTime");
    for result in admin.create_topics([&topic], &options()).await? {
        match result {
            Ok(_) => tracing::info!(topic = name, partitions = PARTITIONS.get(), "the topic is made"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

async fn until_known(admin: &std::sync::Arc<Admin>, name: &str) -> Result<Shape, BackendError> {
    let look = async {
        loop {
            match shape(admin, name).await? {
                Some(shape) if shape.partitions > 0 => return Ok(shape),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    tokio::time::timeout(KNOWN_TIMEOUT, look).await?
}

async fn settings(admin: &Admin, name: &str) -> Result<ConfigResource, BackendError> {
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(name)], &options()).await?;
    let answer = answers.into_iter().next().ok_or(KafkaError::AdminOp(RDKafkaErrorCode::NoEnt))?;
    Ok(answer.map_err(KafkaError::AdminOp)?)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT))
}

fn refuse_loss(topic: &str, settings: &ConfigResource) -> Result<(), PrepareError> {
    for (setting, needed) in [("cleanup.policy", "delete"), ("retention.ms", UNBOUNDED), ("retention.bytes", UNBOUNDED)]
    {
        let found = value(settings, setting);
        if found != needed {
            return Err(PrepareError::Loses { topic: topic.to_owned(), setting, found: found.to_owned(), needed });
        }
    }
    Ok(())
}

/// Says what a cluster of several brokers could lose all the same when some of them fail.
fn warn_of_weak_replication(topic: &str, settings: &ConfigResource, replicas: usize) {
    if replicas < 2 {
        tracing::warn!(topic, replicas, "each event is on one broker only, and is lost with it; add replicas");
    }
    let in_sync = value(settings, "min.insync.replicas");
    if in_sync.parse().unwrap_or(0) < 2 {
        tracing::warn!(topic, in_sync, "an event may be acknowledged by one broker only; set min.insync.replicas to 2");
    }
    if value(settings, "unclean.leader.election.enable") == "true" {
        tracing::warn!(topic, "acknowledged events may be lost; set unclean.leader.election.enable to false");
    }
}

/// Empty where the broker does not know the setting.
fn value<'a>(settings: &'a ConfigResource, name: &str) -> &'a str {
    settings.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default()
}
