//! The topic as it must be: kept for ever, never compacted, and with a number of partitions that never changes.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::PARTITIONS;

/// Longest wait for each answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// As many replicas as the brokers give by default.
const DEFAULT_REPLICATION: i32 = -1;
/// What every event may be lost by but for these.
const FOR_EVER: [(&str, &str); 3] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// Why the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Kafka cannot be asked, or said no.
    #[error("Kafka cannot be asked for the topic {topic}")]
    Unavailable {
        /// Which topic.
        topic: String,
        /// What went wrong.
        #[source]
        source: KafkaError,
    },
    /// Kafka does not let it be made.
    #[error("the topic {topic} cannot be made: {code}")]
    Refused {
        /// Which topic.
        topic: String,
        /// What Kafka said.
        code: RDKafkaErrorCode,
    },
    /// It has another number of partitions.
    #[error(
        "the topic {topic} has {found} partitions, and Tally has {} for ever: where a chat's events lie depends on it; \
         name another Kafka, or, if the topic is of no use to anybody, delete it and let Tally make it",
        PARTITIONS.get()
    )]
    Partitions {
        /// Which topic.
        topic: String,
        /// How many it has.
        found: usize,
    },
    /// It forgets events.
    #[error(
        "the topic {topic} has {name}={found}, by which events would be lost; set it with \
         kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {name}={needed}"
    )]
    Forgets {
        /// Which topic.
        topic: String,
        /// Which setting.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
}

impl PrepareError {
    /// Whether it stays until somebody changes something.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Partitions { .. } | Self::Forgets { .. })
    }
}

/// Makes the topic if it is missing, and checks it.
pub(super) async fn prepare(config: &ClientConfig, topic: &str) -> Result<(), PrepareError> {
    let unavailable = |source| PrepareError::Unavailable { topic: topic.to_owned(), source };
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(unavailable)?;
    create(&admin, topic).await?;
    check_settings(&admin, topic).await?;
    check_partitions(admin, topic).await
}

async fn create(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), PrepareError> {
    let mut new = NewTopic::new(topic, PARTITIONS.get().into(), TopicReplication::Fixed(DEFAULT_REPLICATION));
    for (name, value) in FOR_EVER {
        new = new.set(name, value);
    }
    let made = admin.create_topics([&new], &options()).await;
    let made = made.map_err(|source| PrepareError::Unavailable { topic: topic.to_owned(), source })?;
    for outcome in made {
        match outcome {
            Ok(_) => tracing::info!(topic, "made the topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(PrepareError::Refused { topic: topic.to_owned(), code }),
        }
    }
    Ok(())
}

async fn check_settings(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), PrepareError> {
    let unavailable = |source| PrepareError::Unavailable { topic: topic.to_owned(), source };
    let answered = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await.map_err(unavailable)?;
    for resource in answered {
        let resource: ConfigResource =
            resource.map_err(|code| PrepareError::Refused { topic: topic.to_owned(), code })?;
        for (name, needed) in FOR_EVER {
            let found = resource.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
            if found != needed {
                let (topic, found) = (topic.to_owned(), found.to_owned());
                return Err(PrepareError::Forgets { topic, name, found, needed });
            }
        }
        let is =
            |name: &str, value: &str| resource.get(name).is_some_and(|entry| entry.value.as_deref() == Some(value));
        if is("unclean.leader.election.enable", "true") {
            tracing::warn!(
                topic,
                "unclean.leader.election.enable is true: a broker that lags may lose acknowledged events"
            );
        }
    }
    Ok(())
}

async fn check_partitions(admin: AdminClient<DefaultClientContext>, topic: &str) -> Result<(), PrepareError> {
    let unavailable = |source| PrepareError::Unavailable { topic: topic.to_owned(), source };
    let asked = topic.to_owned();
    let metadata = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(Some(&asked), ANSWER_WAIT)).await;
    let metadata = metadata.map_err(|_| unavailable(KafkaError::Canceled))?.map_err(unavailable)?;
    let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
    let found = partitions.len();
    if found == 0 || partitions.iter().any(|partition| partition.leader() < 0) {
        // A topic that was just made is not known everywhere at once.
        let code = RDKafkaErrorCode::UnknownTopicOrPartition;
        return Err(unavailable(KafkaError::MetadataFetch(code)));
    }
    if found != usize::from(PARTITIONS.get()) {
        return Err(PrepareError::Partitions { topic: topic.to_owned(), found });
    }
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_WAIT)).operation_timeout(Some(ANSWER_WAIT))
}
