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

fn all() -> BTreeSet<PartitionId> {
    PARTITIONS.partitions().collect()
}

/// What a member has, as far as it knows.
fn owned(member: &Membership) -> BTreeSet<PartitionId> {
    member.owned().borrow().clone().unwrap_or_default()
}

/// Whether these members share all partitions, each having some.
fn share(members: &[&Membership]) -> bool {
    let parts: Vec<_> = members.iter().map(|member| owned(member)).collect();
    let union: BTreeSet<_> = parts.iter().flatten().copied().collect();
    parts.iter().all(|part| !part.is_empty()) && parts.iter().map(BTreeSet::len).sum::<usize>() == 12 && union == all()
}

/// A group that no other test uses.
fn projection() -> String {
    format!("test-{}", Uuid::new_v4())
}

async fn open() -> Cluster {
    let cluster = fresh(server().await);
    open_at(&cluster).await;
    cluster
}

async fn members_share_the_partitions_and_inherit_them() {
    let cluster = open().await;
    let projection = projection();
    let first = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&first) == all()).await;
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || share(&[&first, &second])).await;
    let third = Membership::join(&cluster, &projection).unwrap();
    until("three share", || share(&[&first, &second, &third])).await;
    first.close().await;
    assert_eq!(owned(&first), BTreeSet::new());
    until("two are left", || share(&[&second, &third])).await;
    drop(third);
    until("one is left", || owned(&second) == all()).await;
    second.close().await;
}

/// Nobody can tell who has not heard of the group from who has nothing to do, but by this.
async fn a_member_knows_what_it_has_once_the_group_has_said_so() {
    let cluster = open().await;
    let nobody = Membership::join(&fresh("127.0.0.1:1"), &projection()).unwrap();
    let projection = projection();
    let more_than_partitions = 0..=PARTITIONS.get();
    let members: Vec<_> = more_than_partitions.map(|_| Membership::join(&cluster, &projection).unwrap()).collect();
    until("each has heard of the group, and one has nothing", || {
        let known: Vec<_> = members.iter().filter_map(|member| member.owned().borrow().clone()).collect();
        let with_something = known.iter().filter(|owned| !owned.is_empty()).count();
        let union: BTreeSet<_> = known.iter().flatten().copied().collect();
        known.len() == members.len() && with_something == members.len() - 1 && union == all()
    })
    .await;
    assert_eq!(*nobody.owned().borrow(), None);
}

/// While one comes or goes, the others keep what stays theirs.
async fn who_stays_keeps_what_it_has() {
    let cluster = open().await;
    let projection = projection();
    let first = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&first) == all()).await;
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || share(&[&first, &second])).await;
    let kept = owned(&first);
    let mut changes = first.owned();
    let watching = tokio::spawn(async move {
        loop {
            let now = changes.borrow_and_update().clone().unwrap();
            assert!(now.is_superset(&kept), "{now:?} is less than {kept:?}");
            if now == all() {
                return;
            }
            changes.changed().await.unwrap();
        }
    });
    second.close().await;
    tokio::time::timeout(DEADLINE, watching).await.unwrap().unwrap();
}

async fn checkpoints_are_told_to_the_group() {
    let cluster = open().await;
    let projection = projection();
    let member = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&member) == all()).await;
    member.report(PartitionId(3), Offset(17));
    member.report(PartitionId(3), Offset(18));
    member.report(PartitionId(11), Offset(1));
    member.close().await;
    let told = tokio::task::spawn_blocking(move || {
        let group = format!("tally-{projection}");
        let looking: BaseConsumer = config(&cluster).set("group.id", &group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&cluster.topic, 0, 11);
        let told = looking.committed_offsets(asked, DEADLINE).unwrap();
        [3, 11, 0].map(|partition| told.find_partition(&cluster.topic, partition).unwrap().offset())
    });
    let [third, eleventh, other] = told.await.unwrap();
    assert_eq!((third, eleventh), (rdkafka::Offset::Offset(18), rdkafka::Offset::Offset(1)));
    assert_eq!(other, rdkafka::Offset::Invalid);
}

/// Brokers go away for longer than a session lasts. The member goes on, and is one of the group again afterwards.
async fn a_member_keeps_its_partitions_while_brokers_are_away() {
    let brokers = MockCluster::new(1).unwrap();
    let cluster = fresh(brokers.bootstrap_servers());
    brokers.create_topic(&cluster.topic, PARTITIONS.get().into(), 1).unwrap();
    let projection = projection();
    let member = Membership::join(&cluster, &projection).unwrap();
    until("a lone member has all", || owned(&member) == all()).await;
    brokers.broker_down(-1).unwrap();
    let mut changes = member.owned();
    changes.mark_unchanged();
    let longer_than_a_session = Duration::from_secs(9);
    let changed = tokio::time::timeout(longer_than_a_session, changes.changed()).await;
    assert!(changed.is_err(), "it has let go of {:?}", owned(&member));
    brokers.broker_up(-1).unwrap();
    let second = Membership::join(&cluster, &projection).unwrap();
    until("two share", || share(&[&member, &second])).await;
    second.close().await;
    until("the first has all again", || owned(&member) == all()).await;
}

tests!(
    members_share_the_partitions_and_inherit_them,
    a_member_knows_what_it_has_once_the_group_has_said_so,
    who_stays_keeps_what_it_has,
    checkpoints_are_told_to_the_group,
    a_member_keeps_its_partitions_while_brokers_are_away,
);
