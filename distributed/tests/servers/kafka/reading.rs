//! Reads of things that only Kafka has: markers, holes between offsets, records of other programs, a deleted beginning.

use std::sync::Arc;
use std::time::Duration;

use distributed::kafka::{KafkaLog, PARTITIONS};
use event_log::{EventLog, MarkerLog, ReadError, ReadLimit};
use events::{Epoch, Marker, Offset, PartitionId};
use futures_util::future::join_all;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::support::{
    DEADLINE, admin, append_messages, config, fresh, fresh_chat, message, numbers, open, open_at, read, send, server,
};

const AT_ONCE: ReadLimit = ReadLimit { records: 100, wait: Duration::ZERO };

async fn markers_among_events_are_read_as_markers() {
    let brokers = server().await;
    let (log, chat) = (open(brokers).await, fresh_chat());
    let partition = append_messages(&log, chat, 1).await;
    assert_eq!(log.append_marker(partition, Marker::EpochClaimed).await.unwrap(), Offset(1));
    assert_eq!(log.append_marker(partition, Marker::EpochStarted(Epoch(1))).await.unwrap(), Offset(2));
    log.append_marker(partition, Marker::DeadLetterParked(Offset(7))).await.unwrap();
    log.append_marker(partition, Marker::DeadLetterDiscarded(Offset(8))).await.unwrap();
    log.append(message(chat, 2)).await.unwrap();
    // The records may come in several reads.
    let (mut events, mut markers, mut next) = (Vec::new(), Vec::new(), 0);
    while next < 6 {
        let log_batch = read(&log, partition, next, 100).await;
        events.extend(numbers(&log_batch));
        markers.extend(log_batch.markers.into_iter().map(|marker| (marker.offset, marker.marker)));
        next = log_batch.next.0;
    }
    assert_eq!(events, [1, 2]);
    let expected = [
        Marker::EpochClaimed,
        Marker::EpochStarted(Epoch(1)),
        Marker::DeadLetterParked(Offset(7)),
        Marker::DeadLetterDiscarded(Offset(8)),
    ];
    assert_eq!(markers, (1..).map(Offset).zip(expected).collect::<Vec<_>>());
}

async fn a_tail_of_markers_alone_is_passed() {
    let brokers = server().await;
    let log = open(brokers).await;
    let partition = PartitionId(3);
    for _ in 0..3 {
        log.append_marker(partition, Marker::EpochClaimed).await.unwrap();
    }
    let mut next = Offset::START;
    while next < Offset(3) {
        let log_batch = read(&log, partition, next.0, 2).await;
        assert!(log_batch.next > next && log_batch.next.0 - next.0 <= 2, "a marker counts as a record");
        assert!(log_batch.events.is_empty() && log_batch.epoch_starts().next().is_none());
        next = log_batch.next;
    }
    let end = log.read(partition, next, AT_ONCE).await.unwrap();
    assert_eq!(end.next, next);
}

/// A read that does not wait returns what lies before the end, also where the process has not fetched anything yet.
async fn existing_records_are_read_without_waiting() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    let partition = append_messages(&*open_at(&cluster).await, fresh_chat(), 3).await;
    let other = KafkaLog::connect(cluster).unwrap();
    assert_eq!(numbers(&other.read(partition, Offset(0), AT_ONCE).await.unwrap())[0], 1);
    assert_eq!(numbers(&other.read(partition, Offset(2), AT_ONCE).await.unwrap()), [3]);
    assert_eq!(other.read(partition, Offset(3), AT_ONCE).await.unwrap().next, Offset(3));
}

/// The records of a transaction are followed by a control record that no client sees.
async fn holes_between_offsets_are_passed() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    let (log, chat) = (open_at(&cluster).await, fresh_chat());
    let partition = append_messages(&log, chat, 1).await;
    let topic = cluster.topic.clone();
    let hole = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = config(&cluster).set("transactional.id", &topic).create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        // A transaction without records leaves no trace in the partition, so it has one that is no event.
        let record = BaseRecord::<(), ()>::to(&topic).partition(partition.0.into());
        producer.send(record).unwrap();
        producer.commit_transaction(DEADLINE).unwrap();
    });
    hole.await.unwrap();
    // The transaction coordinator writes the control record after it has answered.
    let ended = async { while log.end().await.unwrap().bound(partition) < Offset(3) {} };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    log.append(message(chat, 2)).await.unwrap();
    // 0: an event, 1: the foreign record, 2: the end of its transaction, 3: an event.
    let log_batch = read(&log, partition, 2, 100).await;
    assert_eq!((numbers(&log_batch), log_batch.events[0].offset, log_batch.next), (vec![2], Offset(3), Offset(4)));
}

/// Foreign records, and tombstones as in a compacted topic, do not stop readers.
async fn foreign_records_among_events_are_reported() {
    let cluster = fresh(server().await);
    let (log, chat) = (open_at(&cluster).await, fresh_chat());
    let partition = append_messages(&log, chat, 1).await;
    for (key, value) in [(Some("key"), None), (Some("key"), Some("value")), (None, None)] {
        send(&cluster, partition, key, value, OwnedHeaders::new()).await;
    }
    log.append(message(chat, 2)).await.unwrap();
    let (mut read_numbers, mut unreadable, mut next) = (Vec::new(), Vec::new(), 0);
    while next < 5 {
        let log_batch = read(&log, partition, next, 100).await;
        read_numbers.extend(numbers(&log_batch));
        unreadable.extend(log_batch.unreadable.iter().map(|one| one.offset.0));
        next = log_batch.next.0;
    }
    assert_eq!((read_numbers, unreadable), (vec![1, 2], vec![1, 2, 3]));
}

/// No projection may skip such a record, because it may start an epoch, or be an event.
async fn a_record_of_a_newer_release_is_reported_among_those_beside_it() {
    let cluster = fresh(server().await);
    let (log, chat) = (open_at(&cluster).await, fresh_chat());
    let partition = append_messages(&log, chat, 2).await;
    let attributes = [("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/tally"), ("ce_type", "EpochPaused")];
    let headers = attributes
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    send(&cluster, partition, None, None, headers).await;
    log.append(message(chat, 3)).await.unwrap();
    let (mut read_numbers, mut newer, mut next) = (Vec::new(), Vec::new(), 0);
    while next < 4 {
        let log_batch = read(&log, partition, next, 100).await;
        read_numbers.extend(numbers(&log_batch));
        newer.extend(log_batch.newer);
        next = log_batch.next.0;
    }
    assert_eq!(read_numbers, [1, 2, 3]);
    let [one] = &newer[..] else { panic!("{newer:?}") };
    assert_eq!((one.partition, one.offset, one.what.as_str()), (partition, Offset(2), "of the kind EpochPaused"));
}

async fn reading_outside_of_the_log_is_an_error_with_and_without_waiting() {
    let brokers = server().await;
    let log = open(brokers).await;
    let partition = append_messages(&log, fresh_chat(), 2).await;
    for from in [3, u64::MAX] {
        for wait in [Duration::ZERO, DEADLINE] {
            let answer = log.read(partition, Offset(from), ReadLimit { records: 1, wait }).await;
            assert!(matches!(answer, Err(ReadError::BeyondEnd { end: Offset(2), .. })), "{answer:?}");
        }
    }
    assert_eq!(numbers(&read(&log, partition, 1, 1).await), [2], "the log cannot be read after the error");
    let beyond = PartitionId(PARTITIONS.get());
    assert!(matches!(log.read(beyond, Offset(0), AT_ONCE).await, Err(ReadError::UnknownPartition(_))));
}

async fn reading_a_deleted_beginning_is_an_error() {
    let brokers = server().await;
    let cluster = fresh(brokers);
    let log = open_at(&cluster).await;
    let partition = append_messages(&log, fresh_chat(), 3).await;
    let mut lost = TopicPartitionList::new();
    lost.add_partition_offset(&cluster.topic, partition.0.into(), rdkafka::Offset::Offset(2)).unwrap();
    admin(&cluster).delete_records(&lost, &AdminOptions::new()).await.unwrap();
    for wait in [Duration::ZERO, DEADLINE] {
        let answer = log.read(partition, Offset(0), ReadLimit { records: 1, wait }).await;
        assert!(matches!(answer, Err(ReadError::Truncated { begin: Offset(2), .. })), "{answer:?}");
    }
    assert_eq!(numbers(&read(&log, partition, 2, 1).await), [3]);
}

/// Several readers read one partition from different offsets concurrently. Each gets all records in order.
async fn readers_of_one_partition_do_not_disturb_each_other() {
    const MESSAGES: u32 = 200;
    let brokers = server().await;
    let (log, chat) = (open(brokers).await, fresh_chat());
    let partition = append_messages(&log, chat, MESSAGES).await;
    // Another reader waits at the end all the time.
    let waiting = tokio::spawn({
        let log = Arc::clone(&log);
        async move { read(&log, partition, MESSAGES.into(), 1).await }
    });
    let walks = (0..6).map(|walker| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let (mut read_numbers, first) = (Vec::new(), walker * 30);
            let mut next = u64::from(first);
            while next < MESSAGES.into() {
                let log_batch = read(&log, partition, next, 7).await;
                read_numbers.extend(numbers(&log_batch));
                next = log_batch.next.0;
            }
            assert_eq!(read_numbers, (first + 1..=MESSAGES).collect::<Vec<_>>());
        })
    });
    for walk in join_all(walks).await {
        walk.unwrap();
    }
    assert!(!waiting.is_finished());
    log.append(message(chat, MESSAGES + 1)).await.unwrap();
    assert_eq!(numbers(&waiting.await.unwrap()), [MESSAGES + 1]);
}

/// A read that is cancelled takes no record away from the next.
async fn a_cancelled_read_loses_nothing() {
    let brokers = server().await;
    let (log, chat) = (open(brokers).await, fresh_chat());
    let partition = append_messages(&log, chat, 1).await;
    for number in 2..20 {
        let from = u64::from(number) - 1;
        let cancelled = tokio::time::timeout(Duration::from_millis(3), read(&log, partition, from, 1)).await;
        assert!(cancelled.is_err());
        log.append(message(chat, number)).await.unwrap();
        assert_eq!(numbers(&read(&log, partition, from, 1).await), [number]);
    }
}

tests!(
    markers_among_events_are_read_as_markers,
    a_tail_of_markers_alone_is_passed,
    existing_records_are_read_without_waiting,
    holes_between_offsets_are_passed,
    foreign_records_among_events_are_reported,
    a_record_of_a_newer_release_is_reported_among_those_beside_it,
    reading_outside_of_the_log_is_an_error_with_and_without_waiting,
    reading_a_deleted_beginning_is_an_error,
    readers_of_one_partition_do_not_disturb_each_other,
    a_cancelled_read_loses_nothing,
);
