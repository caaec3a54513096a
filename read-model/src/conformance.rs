//! The contracts of the ports as assertions. Each adapter's tests run every check against the real backend.
//!
//! Every check has its own partition and applications, so checks can share one store and run at the same time, except for those
//! of generations.
//!
//! To add a check, write its function and name it in the list at the top of its file, with the fault that it must find.
//! Every adapter's tests then run it, and `embedded/tests/broken_adapters.rs` proves that it fails on an adapter with that
//! fault. The compiler warns of a check that is in no list, because nothing uses it.

#![expect(clippy::unwrap_used, reason = "a check that panics has failed")]

mod access;
mod broken_access;
mod broken_feed;
mod broken_generations;
mod broken_index;
mod broken_operating;
mod broken_store;
mod broken_views;
mod feed;
mod generations;
mod operating;
mod search;
mod search_generations;
mod store;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use events::{
    ApplicationToken, Author, ChatKey, ChatNumber, EventId, LogId, MessageNumber, Offset, PartitionId, Position,
    UnixMillis,
};
use uuid::Uuid;

use crate::changes::{ChatRow, MessageRow, NameChange, NameOrigin, SourceEvent, ViewsChanges};
use crate::store::{Applied, Checkpoint, CheckpointMove, ProjectionStore};

pub use self::broken_access::AccessFault;
pub use self::broken_feed::FeedFault;
pub use self::broken_generations::GenerationsFault;
pub use self::broken_index::SearchFault;
pub use self::broken_operating::OperatingFault;
pub use self::broken_store::StoreFault;
pub use self::broken_views::ViewsFault;

macro_rules! publish {
    ($module:ident; $suite:path; $($check:ident($($part:ident),+) => $fault:ident,)+) => {
        pub use self::$module::{$($check),+};
    };
}

crate::access_conformance!(publish, access);
crate::feed_conformance!(publish, feed);
crate::generations_conformance!(publish, generations);
crate::operating_conformance!(publish, operating);
crate::search_conformance!(publish, search);
crate::search_generations_conformance!(publish, search_generations);
crate::search_operating_conformance!(publish, operating);
crate::store_conformance!(publish, store);
crate::views_conformance!(publish, views);

/// The log of checkpoints, in a store or an index that does not know another.
const LOG: LogId = LogId(Uuid::from_u128(1));
/// Longest wait for an event that must happen.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// Length of a wait for an event that must not happen.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// When every event of the checks was made.
const OCCURRED_AT: UnixMillis = UnixMillis(1_700_000_000_123);

/// A partition and an application that no other check uses. Assigns ids and offsets to their events.
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

    /// The position that covers one event of the partition.
    fn position(&self, offset: Offset) -> Position {
        Position::up_to(self.partition, offset.next())
    }

    /// Assigns the next event its id and offset.
    fn next_source(&mut self) -> SourceEvent {
        let source = SourceEvent { event_id: EventId(Uuid::now_v7()), offset: self.next };
        self.next = self.next.next();
        source
    }

    fn chat(&self, number: u32) -> ChatKey {
        ChatKey { token: self.token, number: ChatNumber::new(number).unwrap() }
    }

    fn name(&mut self, name: &str, origin: NameOrigin) -> NameChange {
        NameChange {
            token: self.token,
            name: name.into(),
            origin,
            source: self.next_source(),
            occurred_at: OCCURRED_AT,
        }
    }

    fn chat_row(&mut self, number: u32) -> ChatRow {
        ChatRow { chat: self.chat(number), source: self.next_source(), created_at: OCCURRED_AT }
    }

    fn message_row(&mut self, chat: u32, number: u32, body: &str) -> MessageRow {
        MessageRow {
            chat: self.chat(chat),
            number: message_number(number),
            body: body.into(),
            author: None,
            source: self.next_source(),
            created_at: OCCURRED_AT,
        }
    }

    /// Applies changes as a batch from the checkpoint to the last offset that was assigned.
    async fn apply(&self, store: &Arc<dyn ProjectionStore>, changes: ViewsChanges) {
        let checkpoint = store.checkpoint(crate::Projection::Views, self.partition).await;
        let from = checkpoint.unwrap().next;
        let checkpoint_move = CheckpointMove { partition: self.partition, from, to: checkpoint_at(self.next.0) };
        let applied = store.apply_views(checkpoint_move, changes).await.unwrap();
        assert_eq!(applied, Applied::Done);
    }
}

/// A checkpoint in the first epoch.
fn checkpoint_at(next: u64) -> Checkpoint {
    Checkpoint { next: Offset(next), ..Checkpoint::START }
}

fn author(text: &str) -> Author {
    Author::new(text.to_owned()).unwrap()
}

fn message_number(number: u32) -> MessageNumber {
    MessageNumber::new(number).unwrap()
}
