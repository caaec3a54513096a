//! The checks of a [`ProjectionStore`].

use std::sync::Arc;

use events::{Epoch, KnownRecord, Offset, PartitionId, RecordId};
use uuid::Uuid;

use super::{Fixture, LOG, OCCURRED_AT, checkpoint_at, message_number};
use crate::changes::{ApplicationCountsDelta, CountsChanges, DeadLetter, NameOrigin, StoredLetter, ViewsChanges};
use crate::counts::ChatCounts;
use crate::page::Page;
use crate::store::{Applied, Checkpoint, CheckpointMove, Projection, ProjectionStore};
use crate::view::ApplicationView;
use crate::views::Views;

const OWNERS: u32 = 8;
const BATCHES: u64 = 3;
const MANY: u32 = 1_000;
/// Longer than a length field of 16 bits allows.
const LONG_NAME_BYTES: usize = 100 * 1024;

/// Lists the checks of a [`ProjectionStore`](crate::ProjectionStore), each with the parts of the adapter that it takes
/// and the [`StoreFault`](crate::conformance::StoreFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. A check writes to the part
/// `store` and reads from the part `views`.
#[macro_export]
macro_rules! store_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            checkpoints_move_with_their_batches(store) => CheckpointStays,
            a_checkpoint_tells_its_log_and_a_record_of_it(store) => ForgetsTheLog,
            a_stale_batch_writes_nothing(store, views) => AppliesStaleBatches,
            one_of_several_owners_applies_a_batch(store, views) => AppliesStaleBatches,
            duplicates_change_nothing(store, views) => ForgetsEventIds,
            the_second_of_two_events_under_one_key_is_a_dead_letter(store, views) => HidesDeadLetters,
            the_last_rename_in_log_order_wins(store, views) => LastAppliedNameWins,
            names_in_one_batch_resolve_as_in_several(store, views) => LastAppliedNameWins,
            long_names_and_reasons_are_kept(store, views) => TruncatesNames,
            discarded_letters_are_not_listed(store) => KeepsDiscardedLetters,
            a_letter_is_found_and_says_whether_it_is_discarded(store) => LosesDiscardedLetters,
            a_late_chat_is_shown_with_its_messages(store, views) => DropsEarlyMessages,
            chat_counts_are_loaded_as_applied(store) => ForgetsChatCounts,
            application_counts_add_up(store, views) => ForgetsApplications,
        }
    };
}

/// A checkpoint begins at the start. A batch of its projection and partition moves it to the batch's end.
pub async fn checkpoints_move_with_their_batches(store: Arc<dyn ProjectionStore>) {
    let mut fixture = Fixture::new();
    assert_eq!(load_checkpoint(&store, Projection::Views, fixture.partition).await, Checkpoint::START);
    let chats = vec![fixture.chat_row(1)];
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert_eq!(load_checkpoint(&store, Projection::Views, fixture.partition).await, checkpoint_at(1));
    assert_eq!(load_checkpoint(&store, Projection::Counts, fixture.partition).await, Checkpoint::START);
    let to = Checkpoint { next: Offset(9), epoch: Epoch(7), ..Checkpoint::START };
    let checkpoint_move = CheckpointMove { partition: fixture.partition, from: Offset::START, to };
    assert_eq!(apply_counts(&store, checkpoint_move, CountsChanges::default()).await, Applied::Done);
    assert_eq!(load_checkpoint(&store, Projection::Counts, fixture.partition).await, to);
    assert_eq!(load_checkpoint(&store, Projection::Views, fixture.partition).await, checkpoint_at(1));
}

/// A checkpoint tells the last record and the log that it was moved with. A checkpoint at the start tells the log, too, once another
/// partition's checkpoint does.
pub async fn a_checkpoint_tells_its_log_and_a_record_of_it(store: Arc<dyn ProjectionStore>) {
    let fixture = Fixture::new();
    for projection in [Projection::Views, Projection::Counts] {
        let start = store.checkpoint(projection, fixture.partition).await.unwrap();
        let log = Some(start.log.unwrap_or(LOG));
        let mut from = Offset::START;
        for (next, record) in [(3, None), (7, Some(6)), (9, Some(8))] {
            let record = record.map(|offset| KnownRecord { offset: Offset(offset), id: RecordId(Uuid::now_v7()) });
            let to = Checkpoint { next: Offset(next), epoch: Epoch(2), record, log };
            let checkpoint_move = CheckpointMove { partition: fixture.partition, from, to };
            let applied = match projection {
                Projection::Counts => apply_counts(&store, checkpoint_move, CountsChanges::default()).await,
                _ => apply_views(&store, checkpoint_move, ViewsChanges::default()).await,
            };
            assert_eq!(applied, Applied::Done);
            assert_eq!(store.checkpoint(projection, fixture.partition).await.unwrap(), to);
            from = to.next;
        }
        let other = store.checkpoint(projection, Fixture::new().partition).await.unwrap();
        assert_eq!((other.next, other.record, other.log), (Offset::START, None, log));
    }
}

/// A batch that does not begin at the checkpoint is not applied, whether it begins before or behind the checkpoint.
pub async fn a_stale_batch_writes_nothing(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1), fixture.chat_row(2)];
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    for (from, to) in [(0, 3), (1, 3), (3, 4)] {
        let checkpoint_move =
            CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(to) };
        let messages = vec![fixture.message_row(1, 1, "stale")];
        let applied = apply_views(&store, checkpoint_move, ViewsChanges { messages, ..ViewsChanges::default() }).await;
        assert_eq!(applied, Applied::Superseded, "from {from} to {to}");
        let chats = [(fixture.chat(1), make_counts(&[1]))].into();
        let applications =
            [(fixture.token, ApplicationCountsDelta { chats: 1, last_chat: 1, ..ApplicationCountsDelta::default() })]
                .into();
        let stale = CheckpointMove { from: Offset(from + 1), ..checkpoint_move };
        assert_eq!(
            apply_counts(&store, stale, CountsChanges { chats, applications, ..CountsChanges::default() }).await,
            Applied::Superseded
        );
    }
    assert_eq!(read_message(&views, &fixture, 1, 1).await, None);
    assert_eq!(load_counts(&store, &fixture, 1).await, None);
    assert_eq!(load_checkpoint(&store, Projection::Views, fixture.partition).await, checkpoint_at(2));
}

/// Of several owners that apply the same batch concurrently, one succeeds. This holds for a partition's first batch, which
/// creates the checkpoint, and for later ones, which move it.
pub async fn one_of_several_owners_applies_a_batch(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("app", NameOrigin::Created)];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    for from in 0..BATCHES {
        let checkpoint_move =
            CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(from + 1) };
        let owners: Vec<_> = (0..OWNERS)
            .map(|_| {
                let (store, changes) = (Arc::clone(&store), add_one_chat(&fixture));
                tokio::spawn(async move { apply_counts(&store, checkpoint_move, changes).await })
            })
            .collect();
        let mut done = 0;
        for owner in owners {
            done += u32::from(owner.await.unwrap() == Applied::Done);
        }
        assert_eq!(done, 1, "from {from}");
    }
    let application = views.application(fixture.token).await.unwrap();
    assert_eq!(
        application.map(|application| application.value.chats_count),
        Some(BATCHES),
        "a batch was counted twice"
    );
}

fn add_one_chat(fixture: &Fixture) -> CountsChanges {
    let delta = ApplicationCountsDelta { chats: 1, last_chat: 1, ..ApplicationCountsDelta::default() };
    CountsChanges { applications: [(fixture.token, delta)].into(), ..CountsChanges::default() }
}

/// A duplicate of an event, in a later batch or in the same, changes nothing and is no dead letter.
pub async fn duplicates_change_nothing(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let changes = ViewsChanges {
        names: vec![fixture.name("first", NameOrigin::Created), fixture.name("second", NameOrigin::Renamed)],
        chats: vec![fixture.chat_row(1)],
        messages: vec![fixture.message_row(1, 1, "once")],
        ..ViewsChanges::default()
    };
    fixture.apply(&store, changes.clone()).await;
    let twice = ViewsChanges {
        names: changes.names.iter().chain(&changes.names).cloned().collect(),
        chats: changes.chats.iter().chain(&changes.chats).cloned().collect(),
        messages: changes.messages.iter().chain(&changes.messages).cloned().collect(),
        ..ViewsChanges::default()
    };
    fixture.next = Offset(8);
    fixture.apply(&store, twice).await;
    assert_eq!(read_message(&views, &fixture, 1, 1).await.as_deref(), Some("once"));
    assert_eq!(read_name(&views, &fixture).await.as_deref(), Some("second"));
    assert_eq!(load_dead_letters(&store, fixture.partition).await, []);
}

/// Of two different events that create the same application, chat or message, the first in log order is kept and the second
/// becomes a dead letter, whether they come in one batch or in two.
pub async fn the_second_of_two_events_under_one_key_is_a_dead_letter(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
) {
    let mut fixture = Fixture::new();
    let first = ViewsChanges {
        names: vec![fixture.name("first", NameOrigin::Created)],
        chats: vec![fixture.chat_row(1), fixture.chat_row(1)],
        messages: vec![fixture.message_row(1, 1, "first"), fixture.message_row(1, 1, "second")],
        ..ViewsChanges::default()
    };
    let mut letters = vec![first.chats[1].source, first.messages[1].source];
    fixture.apply(&store, first).await;
    let second = ViewsChanges {
        names: vec![fixture.name("third", NameOrigin::Created)],
        chats: vec![fixture.chat_row(1)],
        messages: vec![fixture.message_row(1, 1, "third"), fixture.message_row(1, 2, "another")],
        ..ViewsChanges::default()
    };
    letters.extend([second.names[0].source, second.chats[0].source, second.messages[0].source]);
    fixture.apply(&store, second).await;
    assert_eq!(read_message(&views, &fixture, 1, 1).await.as_deref(), Some("first"));
    assert_eq!(read_message(&views, &fixture, 1, 2).await.as_deref(), Some("another"));
    assert_eq!(read_name(&views, &fixture).await.as_deref(), Some("first"));
    let mut found = load_dead_letters(&store, fixture.partition).await;
    letters.sort_unstable_by_key(|source| source.offset);
    found.sort_unstable_by_key(|source| source.offset);
    assert_eq!(found, letters);
}

/// A rename overrides the creation and every earlier rename, in whatever order the events are applied.
pub async fn the_last_rename_in_log_order_wins(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let created = fixture.name("created", NameOrigin::Created);
    let earlier = fixture.name("earlier", NameOrigin::Renamed);
    let later = fixture.name("later", NameOrigin::Renamed);
    for names in [vec![later.clone()], vec![earlier.clone()], vec![created]] {
        fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
        fixture.next = fixture.next.next();
        assert_eq!(read_name(&views, &fixture).await.as_deref(), Some("later"));
    }
    // A duplicate of a rename does not restore its name, although it lies behind the others in the log.
    let again = fixture.name("earlier", NameOrigin::Renamed);
    let names = vec![crate::NameChange {
        source: crate::SourceEvent { event_id: earlier.source.event_id, ..again.source },
        ..again
    }];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(read_name(&views, &fixture).await.as_deref(), Some("later"));
}

/// An application keeps its first creation and shows its highest name, whether they come in one batch or in several.
pub async fn names_in_one_batch_resolve_as_in_several(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("first", NameOrigin::Created), fixture.name("second", NameOrigin::Created)];
    let mut letters = vec![names[1].source];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(read_name(&views, &fixture).await.as_deref(), Some("first"));
    assert_eq!(load_dead_letters(&store, fixture.partition).await, letters);
    let mut other = Fixture { token: Fixture::new().token, ..fixture };
    let names = vec![other.name("renamed", NameOrigin::Renamed), other.name("created", NameOrigin::Created)];
    other.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(read_name(&views, &other).await.as_deref(), Some("renamed"));
    assert_eq!(load_dead_letters(&store, other.partition).await, letters);
    // The store remembers the creation, although it did not need its name.
    let names = vec![other.name("created again", NameOrigin::Created)];
    letters.push(names[0].source);
    other.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(read_name(&views, &other).await.as_deref(), Some("renamed"));
    assert_eq!(load_dead_letters(&store, other.partition).await, letters);
}

/// Neither the longest reason of a dead letter nor the longest name that fits into an event stops the projection.
pub async fn long_names_and_reasons_are_kept(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let (first, long) = (fixture.name("first", NameOrigin::Created), "🚀".repeat(LONG_NAME_BYTES / "🚀".len()));
    let names = vec![first, fixture.name(&long, NameOrigin::Renamed)];
    let reason = "🚀".repeat(DeadLetter::MAX_REASON_CHARACTERS);
    let broken = vec![DeadLetter { source: fixture.next_source(), reason }];
    fixture.apply(&store, ViewsChanges { names, dead_letters: broken.clone(), ..ViewsChanges::default() }).await;
    assert!(read_name(&views, &fixture).await.is_some_and(|name| name == long), "the name has changed");
    let found = store.dead_letters(fixture.partition, MANY).await.unwrap();
    assert!(found == broken, "the reason has changed");
}

/// A dead letter that is discarded in its own batch or a later one is listed no more. What is no dead letter cannot be discarded, and is
/// no error.
pub async fn discarded_letters_are_not_listed(store: Arc<dyn ProjectionStore>) {
    let mut fixture = Fixture::new();
    let letters: Vec<_> =
        (0..4).map(|_| DeadLetter { source: fixture.next_source(), reason: "broken".to_owned() }).collect();
    let offsets: Vec<_> = letters.iter().map(|letter| letter.source.offset).collect();
    let changes =
        ViewsChanges { dead_letters: letters.clone(), discarded: vec![offsets[1]], ..ViewsChanges::default() };
    fixture.apply(&store, changes).await;
    assert_eq!(load_dead_letters(&store, fixture.partition).await, [0, 2, 3].map(|index| letters[index].source));
    assert_eq!(store.count_dead_letters(fixture.partition).await.unwrap(), 3);
    let beyond = fixture.next_source().offset;
    let discarded = vec![offsets[3], offsets[0], beyond];
    fixture.apply(&store, ViewsChanges { discarded, ..ViewsChanges::default() }).await;
    assert_eq!(load_dead_letters(&store, fixture.partition).await, [letters[2].source]);
    assert_eq!(store.count_dead_letters(fixture.partition).await.unwrap(), 1);
    assert_eq!(store.count_dead_letters(Fixture::new().partition).await.unwrap(), 0, "another partition");
}

/// A dead letter is found by its place, also after it was discarded.
pub async fn a_letter_is_found_and_says_whether_it_is_discarded(store: Arc<dyn ProjectionStore>) {
    let mut fixture = Fixture::new();
    let letters: Vec<_> =
        (0..2).map(|_| DeadLetter { source: fixture.next_source(), reason: "broken".to_owned() }).collect();
    let discarded = vec![letters[1].source.offset];
    fixture.apply(&store, ViewsChanges { dead_letters: letters.clone(), discarded, ..ViewsChanges::default() }).await;
    for (letter, is_discarded) in letters.into_iter().zip([false, true]) {
        let found = store.dead_letter(fixture.partition, letter.source.offset).await.unwrap();
        assert_eq!(found, Some(StoredLetter { letter, is_discarded }));
    }
    let beyond = fixture.next_source().offset;
    assert_eq!(store.dead_letter(fixture.partition, beyond).await.unwrap(), None);
    assert_eq!(store.dead_letter(Fixture::new().partition, Offset(0)).await.unwrap(), None, "another partition");
}

/// Messages may be applied before their chat. They are shown once the chat is applied.
pub async fn a_late_chat_is_shown_with_its_messages(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let messages = vec![fixture.message_row(1, 1, "early")];
    fixture.apply(&store, ViewsChanges { messages, ..ViewsChanges::default() }).await;
    assert_eq!(read_message(&views, &fixture, 1, 1).await, None);
    let chats = vec![fixture.chat_row(1)];
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert_eq!(read_message(&views, &fixture, 1, 1).await.as_deref(), Some("early"));
}

/// Counts are loaded as they were applied, for many chats at once.
pub async fn chat_counts_are_loaded_as_applied(store: Arc<dyn ProjectionStore>) {
    let fixture = Fixture::new();
    let counts = |number: u32| {
        let mut counts = make_counts(&[1, 2 + number % 7, 20 + number]);
        counts.last_event = Some(Offset(number.into()));
        counts
    };
    let chats: Vec<_> = (1..=MANY).map(|number| fixture.chat(number)).collect();
    assert!(store.chat_counts(&chats).await.unwrap().chats.is_empty());
    let changes = CountsChanges {
        chats: chats.iter().map(|chat| (*chat, counts(chat.number.get()))).collect(),
        ..CountsChanges::default()
    };
    let checkpoint_move = CheckpointMove { partition: fixture.partition, from: Offset::START, to: checkpoint_at(1) };
    assert_eq!(apply_counts(&store, checkpoint_move, changes.clone()).await, Applied::Done);
    let loaded = store.chat_counts(&chats).await.unwrap();
    assert_eq!(loaded.chats.into_iter().collect::<std::collections::BTreeMap<_, _>>(), changes.chats);
}

/// An application's count is the sum of what the batches of several partitions add to it.
pub async fn application_counts_add_up(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("app", NameOrigin::Created)];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    for (chats, last_chat) in [(3, 5), (2, 4)] {
        let other = Fixture::new();
        let applications =
            [(fixture.token, ApplicationCountsDelta { chats, last_chat, ..ApplicationCountsDelta::default() })].into();
        let checkpoint_move = CheckpointMove { partition: other.partition, from: Offset::START, to: checkpoint_at(1) };
        let changes = CountsChanges { applications, ..CountsChanges::default() };
        assert_eq!(apply_counts(&store, checkpoint_move, changes).await, Applied::Done);
    }
    let application = views.application(fixture.token).await.unwrap();
    let (name, token, created_at) = ("app".into(), fixture.token, Some(OCCURRED_AT));
    let expected = ApplicationView { name, token, chats_count: 5, created_at };
    assert_eq!(application.map(|shown| shown.value), Some(expected));
}

fn make_counts(numbers: &[u32]) -> ChatCounts {
    let mut counts = ChatCounts::default();
    counts.created = true;
    numbers.iter().for_each(|number| counts.see(message_number(*number)));
    counts
}

async fn load_counts(store: &Arc<dyn ProjectionStore>, fixture: &Fixture, chat: u32) -> Option<ChatCounts> {
    store.chat_counts(&[fixture.chat(chat)]).await.unwrap().chats.remove(&fixture.chat(chat))
}

/// A checkpoint without the log that it is of.
async fn load_checkpoint(
    store: &Arc<dyn ProjectionStore>,
    projection: Projection,
    partition: PartitionId,
) -> Checkpoint {
    Checkpoint { log: None, ..store.checkpoint(projection, partition).await.unwrap() }
}

async fn apply_views(
    store: &Arc<dyn ProjectionStore>,
    checkpoint_move: CheckpointMove,
    changes: ViewsChanges,
) -> Applied {
    store.apply_views(checkpoint_move, changes).await.unwrap()
}

async fn apply_counts(
    store: &Arc<dyn ProjectionStore>,
    checkpoint_move: CheckpointMove,
    changes: CountsChanges,
) -> Applied {
    store.apply_counts(checkpoint_move, changes).await.unwrap()
}

async fn load_dead_letters(store: &Arc<dyn ProjectionStore>, partition: PartitionId) -> Vec<crate::SourceEvent> {
    let letters = store.dead_letters(partition, MANY).await.unwrap();
    letters.into_iter().map(|letter| letter.source).collect()
}

async fn read_name(views: &Arc<dyn Views>, fixture: &Fixture) -> Option<String> {
    let application = views.application(fixture.token).await.unwrap();
    application.map(|application| application.value.name)
}

async fn read_message(views: &Arc<dyn Views>, fixture: &Fixture, chat: u32, number: u32) -> Option<String> {
    let (chat, number) = (fixture.chat(chat), message_number(number));
    let one = views.message(chat, number).await.unwrap();
    let listed = views.messages(chat, Page::FIRST).await.unwrap();
    let listed = listed.into_iter().flat_map(|list| list.value.items).find(|message| message.number == number);
    assert_eq!(one.as_ref().map(|one| &one.value), listed.as_ref(), "a message differs from itself in its list");
    one.map(|message| message.value.body)
}
