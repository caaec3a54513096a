//! A missing topic is created with the required settings. A topic with other settings is refused.

use distributed::kafka::{Cluster, KafkaLog, PARTITIONS, PrepareError};
use futures_util::future::join_all;
use rdkafka::admin::{AdminOptions, ResourceSpecifier};

use super::support::{admin, append_messages, create_topic, fresh, fresh_chat, server};

async fn prepare(cluster: &Cluster) -> Result<(), PrepareError> {
    KafkaLog::connect(cluster.clone()).unwrap().prepare().await
}

async fn a_missing_topic_is_made_to_keep_everything() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    prepare(&cluster).await.unwrap();
    let topic = ResourceSpecifier::Topic(&cluster.topic);
    let described = admin(&cluster).describe_configs([&topic], &AdminOptions::new()).await.unwrap();
    let settings = described[0].as_ref().unwrap();
    for (name, value) in [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
    ] {
        assert_eq!(settings.get(name).unwrap().value.as_deref(), Some(value), "{name}");
    }
}

async fn processes_may_prepare_at_once_and_again() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    let logs: Vec<_> = (0..4).map(|_| KafkaLog::connect(cluster.clone()).unwrap()).collect();
    for prepared in join_all(logs.iter().map(KafkaLog::prepare)).await {
        prepared.unwrap();
    }
    append_messages(&logs[0], fresh_chat(), 1).await;
    prepare(&cluster).await.unwrap();
}

async fn another_number_of_partitions_is_refused() {
    let brokers = server().await;
    for partitions in [1, i32::from(PARTITIONS.get()) + 1] {
        let cluster = fresh(&brokers);
        create_topic(&cluster, partitions, &[("retention.ms", "-1")]).await;
        let error = prepare(&cluster).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("has {partitions} partitions, and this program needs 12")),
            "{error}"
        );
    }
}

async fn a_topic_that_loses_events_is_refused() {
    let brokers = server().await;
    for (name, value, remedy) in [
        ("cleanup.policy", "compact", "cleanup.policy=delete"),
        ("cleanup.policy", "compact,delete", "cleanup.policy=delete"),
        ("retention.ms", "604800000", "retention.ms=-1"),
        ("retention.bytes", "1000000", "retention.bytes=-1"),
    ] {
        let cluster = fresh(&brokers);
        let settings = [("retention.ms", "-1"), (name, value)];
        let settings = if name == "retention.ms" { &settings[1..] } else { &settings };
        create_topic(&cluster, PARTITIONS.get().into(), settings).await;
        let error = prepare(&cluster).await.unwrap_err();
        assert!(matches!(error, PrepareError::Loses { .. }), "{error:?}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

/// Connecting sends nothing to the brokers. Preparing does.
async fn preparing_without_brokers_is_an_error() {
    // Port 9 is for discarding. Nothing listens there.
    let log = KafkaLog::connect(fresh("127.0.0.1:9")).unwrap();
    assert!(matches!(log.prepare().await, Err(PrepareError::Unavailable { .. })));
}

tests!(
    a_missing_topic_is_made_to_keep_everything,
    processes_may_prepare_at_once_and_again,
    another_number_of_partitions_is_refused,
    a_topic_that_loses_events_is_refused,
    preparing_without_brokers_is_an_error,
);
