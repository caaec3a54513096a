//! A stream lies in the partition that other Kafka clients choose for its key.

use distributed::kafka::PARTITIONS;
use event_log::EventLog;
use events::{PartitionId, Record, StreamKey};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::support::{
    append_messages, config, fresh, fresh_chat, message, numbers, only_bound, open_at, read, send, server,
};

async fn records_lie_where_other_clients_put_their_key() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    let log = open_at(&cluster).await;
    // librdkafka's name for Java's default partitioner.
    let producer: FutureProducer = config(&cluster).set("partitioner", "murmur2_random").create().unwrap();
    for number in 0..50 {
        let chat = fresh_chat();
        let stream = if number % 2 == 0 { StreamKey::from(chat) } else { StreamKey::from(chat.token) };
        let key = stream.to_text();
        let sent = FutureRecord::<_, ()>::to(&cluster.topic).key(&key);
        let theirs = producer.send_result(sent).unwrap().await.unwrap().unwrap();
        let record = Record { stream, ..message(chat, 1) };
        let (ours, _) = only_bound(&log.append(record).await.unwrap());
        assert_eq!(i32::from(ours.0), theirs.partition, "{key}");
        assert_eq!(ours, PARTITIONS.partition_of(&stream));
    }
}

/// Who reads a stream's partition would not find such an event, and its number is not compared with the stream's.
async fn an_event_in_another_partition_than_its_streams_is_reported() {
    let cluster = fresh(server().await);
    let (log, chat) = (open_at(&cluster).await, fresh_chat());
    let partition = append_messages(&log, chat, 1).await;
    let foreign = message(chat, 2);
    let id = foreign.event_id.0.to_string();
    let attributes = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_source", "/tally"),
        ("ce_type", "MessagePosted"),
        ("ce_time", "2026-07-01T10:30:00.123Z"),
        ("content-type", "application/json"),
        ("tally_version", "1"),
        ("tally_number", "2"),
    ];
    let headers = attributes
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let elsewhere = PartitionId((partition.0 + 1) % PARTITIONS.get());
    let (key, value) = (foreign.stream.to_text(), String::from_utf8(foreign.data).unwrap());
    for place in [partition, elsewhere] {
        send(&cluster, place, Some(&key), Some(&value), headers.clone()).await;
    }
    assert_eq!(numbers(&read(&log, partition, 1, 1).await), [2], "it is an event where it belongs");
    let log_batch = read(&log, elsewhere, 0, 1).await;
    assert_eq!(log_batch.events, []);
    assert!(log_batch.unreadable[0].reason.contains("not in the partition of its stream"), "{log_batch:?}");
}

tests!(records_lie_where_other_clients_put_their_key, an_event_in_another_partition_than_its_streams_is_reported,);
