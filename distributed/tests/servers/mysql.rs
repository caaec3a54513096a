//! The projections on a real MySQL.

pub(crate) mod alarms;
pub(crate) mod counts;
mod fixture;
pub(crate) mod frozen;
pub(crate) mod generations;
pub(crate) mod histories;
pub(crate) mod locks;
pub(crate) mod migrating;
mod proxy;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod silence;
pub(crate) mod sizes;
pub(crate) mod tables;

use read_model::conformance as suite;

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(async fn $name() {
            let database = server::Database::new().await;
            let (store, views) = (database.projections(), database.projections());
            suite::$name(store, views).await;
        })+
    };
}

conforms!(
    a_chat_seen_late_is_shown_with_its_messages,
    a_stale_step_writes_nothing,
    application_counts_add_up,
    chat_counts_come_back,
    checkpoints_move_with_their_batches,
    duplicates_change_nothing,
    long_names_and_reasons_are_kept,
    names_in_one_batch_are_as_in_several,
    of_two_owners_one_applies_a_step,
    the_highest_name_holds,
    the_second_of_two_events_under_one_key_is_parked,
    a_position_is_waited_for,
    chats_are_known_by_the_nearest_row,
    chats_without_counts_have_no_messages,
    lists_are_cut_by_size,
    lists_are_walked_both_ways,
    texts_come_back_to_the_byte,
    what_is_not_there_is_none,
);

tests!(
    a_chat_seen_late_is_shown_with_its_messages,
    a_stale_step_writes_nothing,
    application_counts_add_up,
    chat_counts_come_back,
    checkpoints_move_with_their_batches,
    duplicates_change_nothing,
    long_names_and_reasons_are_kept,
    names_in_one_batch_are_as_in_several,
    of_two_owners_one_applies_a_step,
    the_highest_name_holds,
    the_second_of_two_events_under_one_key_is_parked,
    a_position_is_waited_for,
    chats_are_known_by_the_nearest_row,
    chats_without_counts_have_no_messages,
    lists_are_cut_by_size,
    lists_are_walked_both_ways,
    texts_come_back_to_the_byte,
    what_is_not_there_is_none,
);
