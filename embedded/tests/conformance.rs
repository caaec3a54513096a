//! The SQLite adapters keep the contracts of their ports.

mod databases;

use databases::{index, log, open, sequencer, spoil, store, views};

/// One test a check, each on databases of its own.
macro_rules! conforms {
    ($suite:path, $ports:tt: $($check:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            use $suite as suite;
            let databases = open().await;
            conforms!(@call suite::$check, databases, $ports).await;
        })+
    };
    (@call $check:path, $databases:ident, ($($port:ident),+)) => { $check($($port(&$databases)),+) };
}

conforms!(event_log::conformance, (log):
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_record_is_told_and_passed() {
    let databases = open().await;
    let suite = event_log::conformance::what_is_no_record_is_told_and_passed;
    suite(log(&databases), async |_| spoil(&databases).await).await;
}

conforms!(event_log::conformance, (log, sequencer):
    numbers_are_dense_and_ascending,
    parents_are_counted_apart,
    reservations_at_once_are_all_different,
    unknown_parents_have_no_numbers,
    a_key_is_given_its_token_again,
    a_key_with_other_values_is_refused,
    one_key_at_once_is_one_number,
);

#[tokio::test(flavor = "multi_thread")]
async fn cold_counters_continue_after_the_log() {
    let databases = open().await;
    let cold = async || sequencer(&databases);
    event_log::conformance::cold_counters_continue_after_the_log(log(&databases), sequencer(&databases), cold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_given_its_number_again() {
    let databases = open().await;
    let cold = async || sequencer(&databases);
    event_log::conformance::a_key_is_given_its_number_again(log(&databases), sequencer(&databases), cold).await;
}

conforms!(read_model::conformance, (store, views):
    a_chat_seen_late_is_shown_with_its_messages,
    a_position_is_waited_for,
    a_stale_step_writes_nothing,
    application_counts_add_up,
    chat_counts_come_back,
    chats_are_known_by_the_nearest_row,
    chats_without_counts_have_no_messages,
    checkpoints_move_with_their_batches,
    duplicates_change_nothing,
    long_names_and_reasons_are_kept,
    names_in_one_batch_are_as_in_several,
    lists_are_cut_by_size,
    lists_are_walked_both_ways,
    of_two_owners_one_applies_a_step,
    texts_come_back_to_the_byte,
    the_highest_name_holds,
    the_second_of_two_events_under_one_key_is_parked,
    what_is_not_there_is_none,
);

conforms!(read_model::conformance, (index):
    a_search_stays_within_its_chat,
    an_indexed_position_is_waited_for,
    documents_are_never_overwritten,
    every_substring_and_nothing_else_is_found,
    noncharacters_mean_themselves,
    results_are_paged,
    special_characters_mean_themselves,
    the_index_keeps_its_checkpoint,
);
