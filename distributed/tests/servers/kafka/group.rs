//! The processes of a projection share the partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use distributed::kafka::{Cluster, Membership, PARTITIONS};
use events::{Offset, PartitionId};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use uuid::Uuid;

use super::support::{DEADLINE, config, fresh, open_at, server, until};

fn all_partitions() -> BTreeSet<PartitionId> {
    PARTITIONS.partitions().collect()
}

/// The partitions that a member owns, as far as it knows.
fn owned(member: &Membership) -> BTreeSet<PartitionId> {
    member.owned().borrow().clone().unwrap_or_default()
}

/// Whether these members share all partitions, and each owns some.
fn are_shared(members: &[&Membership]) -> bool {
    let parts: Vec<_> = members.iter().map(|member| owned(member)).collect();
    let union: BTreeSet<_> = parts.iter().flatten().copied().collect();
    parts.iter().all(|part| !part.is_empty())
        && parts.iter().map(BTreeSet::len).sum::<usize>() == 12
        && union == all_partitions()
}

/// A group that no other test uses.
fn fresh_group() -> String {
    format!("test-{}", Uuid::new_v4())
}

async fn open() -> Cluster {
    let cluster = fresh(server().await);
    open_at(&cluster).await;
    cluster
}

async fn members_share_the_partitions_and_inherit_them() {
    let cluster = open().await;
    let projection = fresh_group();
    let first = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&first) == all_partitions()).await;
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || are_shared(&[&first, &second])).await;
    let third = Membership::join(&cluster, &projection).unwrap();
    until("three share", || are_shared(&[&first, &second, &third])).await;
    first.close().await;
    assert_eq!(owned(&first), BTreeSet::new());
    until("two are left", || are_shared(&[&second, &third])).await;
    drop(third);
    until("one is left", || owned(&second) == all_partitions()).await;
    second.close().await;
}

/// `None` means that a member has not heard of the group yet. An empty set means that it owns nothing.
async fn a_member_knows_what_it_owns_once_it_has_joined() {
    let cluster = open().await;
    let nobody = Membership::join(&fresh("127.0.0.1:1"), &fresh_group()).unwrap();
    let projection = fresh_group();
    let more_than_partitions = 0..=PARTITIONS.get();
    let members: Vec<_> = more_than_partitions.map(|_| Membership::join(&cluster, &projection).unwrap()).collect();
    until("members of which one owns nothing", || {
        let known: Vec<_> = members.iter().filter_map(|member| member.owned().borrow().clone()).collect();
        let with_partitions = known.iter().filter(|owned| !owned.is_empty()).count();
        let union: BTreeSet<_> = known.iter().flatten().copied().collect();
        known.len() == members.len() && with_partitions == members.len() - 1 && union == all_partitions()
    })
    .await;
    assert_eq!(*nobody.owned().borrow(), None);
}

/// While a member joins or leaves, the others keep the partitions that stay theirs.
async fn members_keep_their_partitions_while_others_come_and_go() {
    let cluster = open().await;
    let projection = fresh_group();
    let first = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&first) == all_partitions()).await;
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || are_shared(&[&first, &second])).await;
    let kept = owned(&first);
    let mut changes = first.owned();
    let watching = tokio::spawn(async move {
        loop {
            let now = changes.borrow_and_update().clone().unwrap();
            assert!(now.is_superset(&kept), "{now:?} is less than {kept:?}");
            if now == all_partitions() {
                return;
            }
            changes.changed().await.unwrap();
        }
    });
    second.close().await;
    tokio::time::timeout(DEADLINE, watching).await.unwrap().unwrap();
}

async fn checkpoints_are_committed_to_the_group() {
    let cluster = open().await;
    let projection = fresh_group();
    let member = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&member) == all_partitions()).await;
    member.report(PartitionId(3), Offset(17));
    member.report(PartitionId(3), Offset(18));
    member.report(PartitionId(11), Offset(1));
    member.close().await;
    let committed = tokio::task::spawn_blocking(move || {
        let group = format!("tally-{projection}");
        let consumer: BaseConsumer = config(&cluster).set("group.id", &group).create().unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&cluster.topic, 0, 11);
        let committed = consumer.committed_offsets(partitions, DEADLINE).unwrap();
        [3, 11, 0].map(|partition| committed.find_partition(&cluster.topic, partition).unwrap().offset())
    });
    let [third, eleventh, other] = committed.await.unwrap();
    assert_eq!((third, eleventh), (rdkafka::Offset::Offset(18), rdkafka::Offset::Offset(1)));
    assert_eq!(other, rdkafka::Offset::Invalid);
}

/// Brokers go away for longer than a session. The member continues, and is a member again afterwards.
async fn a_member_keeps_its_partitions_while_brokers_are_away() {
    let brokers = MockCluster::new(1).unwrap();
    let cluster = fresh(brokers.bootstrap_servers());
    brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
    let projection = fresh_group();
    let member = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&member) == all_partitions()).await;
    brokers.broker_down(-1).unwrap();
    let mut changes = member.owned();
    changes.mark_unchanged();
    let longer_than_a_session = Duration::from_secs(9);
    let changed = tokio::time::timeout(longer_than_a_session, changes.changed()).await;
    assert!(changed.is_err(), "its partitions have changed to {:?}", owned(&member));
    brokers.broker_up(-1).unwrap();
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || are_shared(&[&member, &second])).await;
    second.close().await;
    until("a lone member has all again", || owned(&member) == all_partitions()).await;
}

tests!(
    members_share_the_partitions_and_inherit_them,
    a_member_knows_what_it_owns_once_it_has_joined,
    members_keep_their_partitions_while_others_come_and_go,
    checkpoints_are_committed_to_the_group,
    a_member_keeps_its_partitions_while_brokers_are_away,
);
