//! The contract of the ports as assertions: each adapter's tests run all of them against the real backend.
//!
//! Every check makes streams of its own, so that the checks can share one log and run side by side.

mod log;
mod sequencer;

use std::time::{SystemTime, UNIX_EPOCH};

use events::{
    ApplicationToken, ChatApplicationCreated, ChatCreated, ChatNumber, Event, EventId, MessageNumber, MessagePosted,
    Record, UnixMillis,
};
use uuid::Uuid;

pub use self::log::{
    appends_at_once_are_all_there_once, concurrent_readers_see_one_order, end_covers_every_answered_append,
    reading_beyond_the_end_is_refused, reading_starts_where_it_is_asked_to, records_come_back_to_the_byte,
    the_end_is_waited_at_and_left_when_a_record_comes, the_number_of_records_is_bounded,
    the_wait_at_the_end_is_bounded, what_is_no_record_is_told_and_passed, writers_in_turn_lie_in_turn,
};
pub use self::sequencer::{
    a_key_is_given_its_number_again, a_key_is_given_its_token_again, a_key_with_other_values_is_refused,
    cold_counters_continue_after_the_log, numbers_are_dense_and_ascending, one_key_at_once_is_one_number,
    parents_are_counted_apart, reservations_at_once_are_all_different, unknown_parents_have_no_numbers,
};

/// A token that no other check uses.
fn fresh_token() -> ApplicationToken {
    ApplicationToken::from_bytes(Uuid::new_v4().into_bytes())
}

fn first_chat() -> ChatNumber {
    ChatNumber::new(1).unwrap_or_else(|| unreachable!("1 is a number"))
}

fn record(event: &Event) -> Record {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let occurred_at = UnixMillis(since_epoch.as_millis().try_into().unwrap_or(u64::MAX));
    Record::encode(event, EventId(Uuid::now_v7()), occurred_at).unwrap_or_else(|error| panic!("encode: {error}"))
}

fn application_created(token: ApplicationToken) -> Record {
    record(&Event::ChatApplicationCreated(ChatApplicationCreated { token, name: "conformance".into() }))
}

fn chat_created(token: ApplicationToken, number: ChatNumber) -> Record {
    record(&Event::ChatCreated(ChatCreated { token, number }))
}

fn message_posted(token: ApplicationToken, number: u32, body: &str) -> Record {
    let number = MessageNumber::new(number).unwrap_or_else(|| panic!("{number} is no number"));
    record(&Event::MessagePosted(MessagePosted { token, chat_number: first_chat(), number, body: body.into() }))
}
