//! The log is damaged: partition 0 loses its last records, or a partition gets the start of an epoch that no command-api has
//! sent. The projections are made again. Everything that is acknowledged from then on becomes visible.

use distributed::kafka::{Cluster, KafkaLog, PARTITIONS};
use event_log::MarkerLog;
use events::{Epoch, Marker, PartitionId};
use testcontainers::core::{CmdWaitFor, ExecCommand};
use testkit::polling::eventually;
use testkit::scenarios::Api;

use super::{Projectors, System, fill, post, read_awaiting};
use crate::containers::{brokers, wait_for};
use crate::faults::fixture::parse_stream;

/// The epoch of a start that no command-api has sent.
const FORGED: Epoch = Epoch(1_000_000_000_000);

/// Finds the file with the records of partition 0, whichever image the broker has.
const FIND_RECORDS: &str = "file=$(find /tmp /var/lib/kafka -path '*/chat.events-0/*' -name '*.log' | head -1)";

impl System {
    fn log(&self) -> KafkaLog {
        KafkaLog::connect(Cluster::new(brokers(&self.kafka).as_str())).unwrap()
    }

    /// Runs a command in the container of Kafka, with the file of partition 0 in `$file`.
    async fn in_kafka(&self, command: &str) {
        let script = format!("set -e; {FIND_RECORDS}; test -f \"$file\"; {command}");
        let command = ExecCommand::new(["sh", "-c", &script]).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        self.kafka.container.exec(command).await.unwrap();
    }

    /// Kills Kafka, and lets it start with the records that partition 0 had at [`Self::mark_end`].
    async fn lose_records_since_the_mark(&self) {
        self.in_kafka("truncate -s \"$(cat /tmp/mark)\" \"$file\"").await;
        self.kafka.restart().await;
        let log = self.log();
        wait_for("Kafka", async || log.prepare().await.ok()).await;
    }

    async fn mark_end(&self) {
        self.in_kafka("wc -c < \"$file\" > /tmp/mark").await;
    }

    /// Makes the projections again, as docs/operations.md says.
    async fn make_projections_again(&mut self, whilst_stopped: impl AsyncFnOnce(&Self)) {
        self.projectors.stop().await;
        whilst_stopped(self).await;
        self.database.recreate().await;
        self.projectors = Projectors::start(&brokers(&self.kafka), &self.database.url()).await;
    }
}

/// Posts to every chat. Everything that is acknowledged must become visible.
async fn assert_acknowledged_is_visible(api: &Api, chats: &[String]) {
    for chat in chats {
        // An epoch begins once `counts`, which is being made again, has read the whole log.
        let (number, position) = wait_for("a number", async || post(api, chat).await).await;
        let path = format!("{chat}/messages/{number}");
        let shown = read_awaiting(api, &path, &position).await;
        assert_eq!(shown["number"], number, "{number} of {chat} was acknowledged and is not shown");
    }
}

/// The next claim lies below the epochs of the other partitions.
async fn acknowledged_is_visible_after_partition_0_has_lost_its_tail() {
    let mut system = System::start().await;
    system.mark_end().await;
    // Two epochs are lost, so the next claim lies below the second.
    for _ in 0..2 {
        let before = system.epoch().await.unwrap();
        system.empty_redis().await;
        system.wait_for_epoch_above(before).await;
    }
    let (_, chats, _) = fill(&system.api).await;
    let lost = system.epoch().await.unwrap();
    system.make_projections_again(async |system| system.lose_records_since_the_mark().await).await;
    system.empty_redis().await;
    // A chat of partition 0 may have lost its creation.
    let chats: Vec<_> = chats.into_iter().filter(|chat| partition_of(chat) != PartitionId(0)).collect();
    assert!(!chats.is_empty());
    assert_acknowledged_is_visible(&system.api, &chats).await;
    assert!(system.epoch().await.unwrap() > lost, "events of the former epoch may come and be valid");
    system.stop().await;
}

/// No claim will ever reach the epoch. Redis has lost nothing.
async fn acknowledged_is_visible_after_a_forged_start() {
    let mut system = System::start().await;
    let (_, chats, _) = fill(&system.api).await;
    let log = system.log();
    eventually("the record", async || log.append_marker(partition_of(&chats[0]), Marker::EpochStarted(FORGED)).await)
        .await;
    system.make_projections_again(async |_| {}).await;
    system.wait_for_epoch_above(FORGED).await;
    assert_acknowledged_is_visible(&system.api, &chats).await;
    system.empty_redis().await;
    assert_acknowledged_is_visible(&system.api, &chats).await;
    system.stop().await;
}

fn partition_of(chat: &str) -> PartitionId {
    PARTITIONS.partition_of(&parse_stream(chat))
}

tests!(acknowledged_is_visible_after_partition_0_has_lost_its_tail, acknowledged_is_visible_after_a_forged_start,);
