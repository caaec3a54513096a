//! The contracts of the ports as assertions: each adapter's tests run all of them against the real backend.
//!
//! Every check takes a partition and applications of its own, so that the checks can share one store and run side by
//! side.

mod search;
mod store;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use events::{ApplicationToken, ChatKey, ChatNumber, EventId, MessageNumber, Offset, PartitionId};
use uuid::Uuid;

use crate::changes::{ChatRow, MessageRow, NameChange, NameOrigin, SourceEvent, ViewsChanges};
use crate::store::{Applied, Checkpoint, CheckpointMove, ProjectionStore};

pub use self::search::{
    a_search_stays_within_its_chat, an_indexed_position_is_waited_for, documents_are_never_overwritten,
    every_substring_and_nothing_else_is_found, noncharacters_mean_themselves, results_are_paged,
    special_characters_mean_themselves, the_index_keeps_its_checkpoint,
};
pub use self::store::{
    a_chat_seen_late_is_shown_with_its_messages, a_stale_step_writes_nothing, application_counts_add_up,
    chat_counts_come_back, checkpoints_move_with_their_batches, duplicates_change_nothing,
    long_names_and_reasons_are_kept, names_in_one_batch_are_as_in_several, of_two_owners_one_applies_a_step,
    the_highest_name_holds, the_second_of_two_events_under_one_key_is_parked,
};
pub use self::views::{
    a_position_is_waited_for, chats_are_known_by_the_nearest_row, chats_without_counts_have_no_messages,
    lists_are_cut_by_size, lists_are_walked_both_ways, texts_come_back_to_the_byte, what_is_not_there_is_none,
};

/// A partition and an application that no other check uses, and the events that are made in it.
struct Fixture {
    partition: PartitionId,
    next: Offset,
    token: ApplicationToken,
}

impl Fixture {
    fn new() -> Self {
        static PARTITIONS: AtomicU16 = AtomicU16::new(0);
        Self {
            partition: PartitionId(PARTITIONS.fetch_add(1, Ordering::Relaxed)),
            next: Offset::START,
            token: ApplicationToken::from_bytes(Uuid::new_v4().into_bytes()),
        }
    }

    /// The place of a next event.
    fn place(&mut self) -> SourceEvent {
        let place = SourceEvent { event_id: EventId(Uuid::now_v7()), offset: self.next };
        self.next = self.next.next();
        place
    }

    fn chat(&self, number: u32) -> ChatKey {
        ChatKey { token: self.token, number: ChatNumber::new(number).unwrap_or_else(|| panic!("{number}")) }
    }

    fn name(&mut self, name: &str, origin: NameOrigin) -> NameChange {
        NameChange { token: self.token, name: name.into(), origin, source: self.place() }
    }

    fn chat_row(&mut self, number: u32) -> ChatRow {
        ChatRow { chat: self.chat(number), source: self.place() }
    }

    fn message_row(&mut self, chat: u32, number: u32, body: &str) -> MessageRow {
        MessageRow { chat: self.chat(chat), number: message_number(number), body: body.into(), source: self.place() }
    }

    /// Applies changes as the batch that reaches from the checkpoint to the last place given out.
    async fn apply(&self, store: &Arc<dyn ProjectionStore>, changes: ViewsChanges) {
        let checkpoint = store.checkpoint(crate::Projection::Views, self.partition).await;
        let from = checkpoint.unwrap_or_else(|error| panic!("checkpoint: {error}")).next;
        let checkpoint_move = CheckpointMove { partition: self.partition, from, to: at(self.next.0) };
        let applied =
            store.apply_views(checkpoint_move, changes).await.unwrap_or_else(|error| panic!("apply: {error}"));
        assert_eq!(applied, Applied::Done);
    }
}

/// A checkpoint in the first epoch.
fn at(next: u64) -> Checkpoint {
    Checkpoint { next: Offset(next), ..Checkpoint::START }
}

fn message_number(number: u32) -> MessageNumber {
    MessageNumber::new(number).unwrap_or_else(|| panic!("{number} is no number"))
}
