//! The log on Kafka keeps its contract, and what Kafka adds to it: a topic with conditions, markers, groups, and brokers
//! that go away.
//!
//! Every test has a topic of its own on a Kafka that all share; faults are injected on librdkafka's own mock of brokers.

pub(crate) mod away;
pub(crate) mod group;
pub(crate) mod partitioning;
pub(crate) mod reading;
pub(crate) mod support;
pub(crate) mod topic;

pub(crate) use self::support::{DEADLINE, fresh_chat, message, until};
use self::support::{open, server};

macro_rules! conforms {
    ($($check:ident),+ $(,)?) => {
        $(async fn $check() {
            event_log::conformance::$check(open(server().await).await).await;
        })+
        tests!($($check),+);
    };
}

conforms!(
    appends_at_once_are_all_there_once,
    concurrent_readers_see_one_order,
    end_covers_every_answered_append,
    reading_beyond_the_end_is_refused,
    reading_starts_where_it_is_asked_to,
    records_come_back_to_the_byte,
    the_end_is_waited_at_and_left_when_a_record_comes,
    the_number_of_records_is_bounded,
    the_wait_at_the_end_is_bounded,
    writers_in_turn_lie_in_turn,
);
