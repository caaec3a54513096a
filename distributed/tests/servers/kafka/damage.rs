//! A record is damaged on the disk of a broker.

use std::time::Duration;

use distributed::kafka::{Cluster, KafkaLog};
use event_log::{EventLog, ReadError, ReadLimit};
use events::{Offset, PartitionId, Record};
use testcontainers::core::{CmdWaitFor, ExecCommand};
use testkit::polling::eventually;
use thiserror_ext::AsReport;

use super::support::{fresh_chat, message, read};
use crate::containers::{Server, brokers, own_kafka};

const DAMAGED: &str = "a body that is damaged";
const CHANGED: &str = "A BODY THAT IS DAMAGED";

/// Writes another text over a text in the file with the records of a partition. The broker serves what is in the file.
async fn overwrite(kafka: &Server, partition: PartitionId, text: &str, other: &str) {
    let script = format!(
        "set -e; file=$(find /tmp /var/lib/kafka -path '*/chat.events-{partition}/*' -name '*.log' | head -1); \
         at=$(grep -abo '{text}' \"$file\" | head -1 | cut -d: -f1); \
         printf '{other}' | dd of=\"$file\" bs=1 seek=\"$at\" conv=notrunc"
    );
    let command = ExecCommand::new(["sh", "-c", &script]).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
    kafka.container.exec(command).await.unwrap();
}

/// The checksum of its batch tells.
async fn a_damaged_record_is_an_error_and_neither_shown_nor_passed() {
    let kafka = own_kafka(None).await;
    let open = || KafkaLog::connect(Cluster::new(brokers(&kafka))).unwrap();
    let (log, chat) = (open(), fresh_chat());
    log.prepare().await.unwrap();
    let data = br#"{"body":"a body that is damaged"}"#.to_vec();
    let damaged = Record { data, ..message(chat, 2) };
    let mut partition = PartitionId(0);
    for record in [message(chat, 1), damaged, message(chat, 3)] {
        partition = log.append(record).await.unwrap().bounds().next().unwrap().0;
    }
    overwrite(&kafka, partition, DAMAGED, CHANGED).await;
    let reader = open();
    assert_eq!(read(&reader, partition, 0, 1).await.next, Offset(1));
    for _ in 0..3 {
        let answer = reader.read(partition, Offset(1), ReadLimit { records: 100, wait: Duration::from_secs(1) }).await;
        let Err(error @ ReadError::Unavailable(_)) = answer else { panic!("{answer:?}") };
        let report = error.to_report_string();
        assert!(report.contains("has a record at 1, but it does not arrive whole"), "{report}");
    }
    overwrite(&kafka, partition, CHANGED, DAMAGED).await;
    let again = eventually("the record that is whole again", async || {
        reader.read(partition, Offset(1), ReadLimit { records: 1, wait: Duration::from_secs(1) }).await
    });
    assert_eq!(again.await.events.len(), 1);
}

tests!(a_damaged_record_is_an_error_and_neither_shown_nor_passed,);
