//! A stream lies in the partition that other Kafka clients choose for its key.

use distributed::kafka::PARTITIONS;
use event_log::EventLog;
use events::{Record, StreamKey};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::support::{config, fresh, fresh_chat, message, only_bound, open_at, server};

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

tests!(records_lie_where_other_clients_put_their_key,);
