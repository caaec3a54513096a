//! What every [`ProjectionStore`] does.

use std::sync::Arc;

use events::{Epoch, Offset, PartitionId};

use super::{Ground, at, message_number};
use crate::changes::{ApplicationCountsDelta, CountsChanges, DeadLetter, NameOrigin, ViewsChanges};
use crate::counts::ChatCounts;
use crate::page::Page;
use crate::store::{Applied, Checkpoint, Projection, ProjectionStore, Step};
use crate::view::{ApplicationView, MessageView};
use crate::views_port::Views;

const OWNERS: u32 = 8;
const STEPS: u64 = 3;
const MANY: u32 = 1_000;
/// More than 16 bits count.
const LONG_NAME_BYTES: usize = 100 * 1024;

/// A checkpoint is at the start, and then where the last batch of its projection and partition ends.
pub async fn checkpoints_move_with_their_batches(store: Arc<dyn ProjectionStore>, _views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    assert_eq!(checkpoint(&store, Projection::Views, ground.partition).await, Checkpoint::START);
    let chats = vec![ground.chat_row(1)];
    ground.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert_eq!(checkpoint(&store, Projection::Views, ground.partition).await, at(1));
    assert_eq!(checkpoint(&store, Projection::Counts, ground.partition).await, Checkpoint::START);
    let to = Checkpoint { next: Offset(9), epoch: Epoch(7) };
    let step = Step { partition: ground.partition, from: Offset::START, to };
    assert_eq!(apply_counts(&store, step, CountsChanges::default()).await, Applied::Done);
    assert_eq!(checkpoint(&store, Projection::Counts, ground.partition).await, to);
    assert_eq!(checkpoint(&store, Projection::Views, ground.partition).await, at(1));
}

/// A batch that does not begin at the checkpoint is not applied, whether it lies before or beyond.
pub async fn a_stale_step_writes_nothing(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let chats = vec![ground.chat_row(1), ground.chat_row(2)];
    ground.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    for (from, to) in [(0, 3), (1, 3), (3, 4)] {
        let step = Step { partition: ground.partition, from: Offset(from), to: at(to) };
        let messages = vec![ground.message_row(1, 1, "stale")];
        let applied = apply_views(&store, step, ViewsChanges { messages, ..ViewsChanges::default() }).await;
        assert_eq!(applied, Applied::Superseded, "from {from} to {to}");
        let chats = [(ground.chat(1), seen(&[1]))].into();
        let applications =
            [(ground.token, ApplicationCountsDelta { chats: 1, last_chat: 1, ..ApplicationCountsDelta::default() })]
                .into();
        let stale = Step { from: Offset(from + 1), ..step };
        assert_eq!(
            apply_counts(&store, stale, CountsChanges { chats, applications, ..CountsChanges::default() }).await,
            Applied::Superseded
        );
    }
    assert_eq!(message(&views, &ground, 1, 1).await, None);
    assert_eq!(load(&store, &ground, 1).await, None);
    assert_eq!(checkpoint(&store, Projection::Views, ground.partition).await, at(2));
}

/// Of several that apply the same step at once, one does: the first of a partition, which makes the checkpoint, as those after
/// it, which move it.
pub async fn of_two_owners_one_applies_a_step(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let names = vec![ground.name("app", NameOrigin::Created)];
    ground.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    for from in 0..STEPS {
        let step = Step { partition: ground.partition, from: Offset(from), to: at(from + 1) };
        let owners: Vec<_> = (0..OWNERS)
            .map(|_| {
                let (store, changes) = (Arc::clone(&store), a_chat_more(&ground));
                tokio::spawn(async move { apply_counts(&store, step, changes).await })
            })
            .collect();
        let mut done = 0;
        for owner in owners {
            done += u32::from(owner.await.unwrap_or_else(|error| panic!("{error}")) == Applied::Done);
        }
        assert_eq!(done, 1, "from {from}");
    }
    let application = views.application(ground.token).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(application.map(|application| application.chats_count), Some(STEPS), "a step counts twice");
}

fn a_chat_more(ground: &Ground) -> CountsChanges {
    let delta = ApplicationCountsDelta { chats: 1, last_chat: 1, ..ApplicationCountsDelta::default() };
    CountsChanges { applications: [(ground.token, delta)].into(), ..CountsChanges::default() }
}

/// The same event again, in a later batch or twice in one, leaves everything as it is and is no dead letter.
pub async fn duplicates_change_nothing(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let changes = ViewsChanges {
        names: vec![ground.name("first", NameOrigin::Created), ground.name("second", NameOrigin::Renamed)],
        chats: vec![ground.chat_row(1)],
        messages: vec![ground.message_row(1, 1, "once")],
        dead_letters: vec![],
    };
    ground.apply(&store, changes.clone()).await;
    let twice = ViewsChanges {
        names: changes.names.iter().chain(&changes.names).cloned().collect(),
        chats: changes.chats.iter().chain(&changes.chats).cloned().collect(),
        messages: changes.messages.iter().chain(&changes.messages).cloned().collect(),
        dead_letters: vec![],
    };
    ground.next = Offset(8);
    ground.apply(&store, twice).await;
    assert_eq!(message(&views, &ground, 1, 1).await.as_deref(), Some("once"));
    assert_eq!(name(&views, &ground).await.as_deref(), Some("second"));
    assert_eq!(dead_letters(&store, ground.partition).await, []);
}

/// Of two events that are one application, chat or message, the first in log order is kept and the second is parked:
/// in one batch as in two, and whatever comes after.
pub async fn the_second_of_two_events_under_one_key_is_parked(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let first = ViewsChanges {
        names: vec![ground.name("first", NameOrigin::Created)],
        chats: vec![ground.chat_row(1), ground.chat_row(1)],
        messages: vec![ground.message_row(1, 1, "first"), ground.message_row(1, 1, "second")],
        dead_letters: vec![],
    };
    let mut parked = vec![first.chats[1].place, first.messages[1].place];
    ground.apply(&store, first).await;
    let second = ViewsChanges {
        names: vec![ground.name("third", NameOrigin::Created)],
        chats: vec![ground.chat_row(1)],
        messages: vec![ground.message_row(1, 1, "third"), ground.message_row(1, 2, "another")],
        dead_letters: vec![],
    };
    parked.extend([second.names[0].place, second.chats[0].place, second.messages[0].place]);
    ground.apply(&store, second).await;
    assert_eq!(message(&views, &ground, 1, 1).await.as_deref(), Some("first"));
    assert_eq!(message(&views, &ground, 1, 2).await.as_deref(), Some("another"));
    assert_eq!(name(&views, &ground).await.as_deref(), Some("first"));
    let mut found = dead_letters(&store, ground.partition).await;
    parked.sort_unstable_by_key(|place| place.offset);
    found.sort_unstable_by_key(|place| place.offset);
    assert_eq!(found, parked);
}

/// A rename holds over the creation and over every earlier rename, in whatever order they come.
pub async fn the_highest_name_holds(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let created = ground.name("created", NameOrigin::Created);
    let earlier = ground.name("earlier", NameOrigin::Renamed);
    let later = ground.name("later", NameOrigin::Renamed);
    for names in [vec![later.clone()], vec![earlier.clone()], vec![created]] {
        ground.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
        ground.next = ground.next.next();
        assert_eq!(name(&views, &ground).await.as_deref(), Some("later"));
    }
    // A rename that is written twice does not bring its name back, although it lies behind the others now.
    let again = ground.name("earlier", NameOrigin::Renamed);
    let names =
        vec![crate::NameChange { place: crate::LogPlace { event_id: earlier.place.event_id, ..again.place }, ..again }];
    ground.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(name(&views, &ground).await.as_deref(), Some("later"));
}

/// In one batch as in several, an application keeps its first creation and shows its highest name.
pub async fn names_in_one_batch_are_as_in_several(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let names = vec![ground.name("first", NameOrigin::Created), ground.name("second", NameOrigin::Created)];
    let mut parked = vec![names[1].place];
    ground.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(name(&views, &ground).await.as_deref(), Some("first"));
    assert_eq!(dead_letters(&store, ground.partition).await, parked);
    let mut other = Ground { token: Ground::new().token, ..ground };
    let names = vec![other.name("renamed", NameOrigin::Renamed), other.name("created", NameOrigin::Created)];
    other.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(name(&views, &other).await.as_deref(), Some("renamed"));
    assert_eq!(dead_letters(&store, other.partition).await, parked);
    // The creation was taken note of, although its name was not needed.
    let names = vec![other.name("created again", NameOrigin::Created)];
    parked.push(names[0].place);
    other.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(name(&views, &other).await.as_deref(), Some("renamed"));
    assert_eq!(dead_letters(&store, other.partition).await, parked);
}

/// What a broken event may say of itself, and a name as long as an event can have it, do not stop the projection.
pub async fn long_names_and_reasons_are_kept(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let (first, long) = (ground.name("first", NameOrigin::Created), "🚀".repeat(LONG_NAME_BYTES / "🚀".len()));
    let names = vec![first, ground.name(&long, NameOrigin::Renamed)];
    let reason = "🚀".repeat(DeadLetter::MAX_REASON_CHARACTERS);
    let broken = vec![DeadLetter { place: ground.place(), reason }];
    ground.apply(&store, ViewsChanges { names, dead_letters: broken.clone(), ..ViewsChanges::default() }).await;
    assert!(name(&views, &ground).await.is_some_and(|name| name == long), "the name came back as another");
    let found = store.dead_letters(ground.partition, MANY).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(found == broken, "the reason came back as another");
}

/// Messages may come before their chat; they are shown once the chat is.
pub async fn a_chat_seen_late_is_shown_with_its_messages(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let messages = vec![ground.message_row(1, 1, "early")];
    ground.apply(&store, ViewsChanges { messages, ..ViewsChanges::default() }).await;
    assert_eq!(message(&views, &ground, 1, 1).await, None);
    let chats = vec![ground.chat_row(1)];
    ground.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert_eq!(message(&views, &ground, 1, 1).await.as_deref(), Some("early"));
}

/// What is applied to counts is what is loaded from them, for any number of chats.
pub async fn chat_counts_come_back(store: Arc<dyn ProjectionStore>, _views: Arc<dyn Views>) {
    let ground = Ground::new();
    let counts = |number: u32| seen(&[1, 2 + number % 7, 20 + number]);
    let chats: Vec<_> = (1..=MANY).map(|number| ground.chat(number)).collect();
    assert!(store.chat_counts(&chats).await.is_ok_and(|loaded| loaded.is_empty()));
    let changes = CountsChanges {
        chats: chats.iter().map(|chat| (*chat, counts(chat.number.get()))).collect(),
        ..CountsChanges::default()
    };
    let step = Step { partition: ground.partition, from: Offset::START, to: at(1) };
    assert_eq!(apply_counts(&store, step, changes.clone()).await, Applied::Done);
    let loaded = store.chat_counts(&chats).await.unwrap_or_else(|error| panic!("chat_counts: {error}"));
    assert_eq!(loaded.into_iter().collect::<std::collections::BTreeMap<_, _>>(), changes.chats);
}

/// What batches of several partitions add to one application adds up.
pub async fn application_counts_add_up(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut ground = Ground::new();
    let names = vec![ground.name("app", NameOrigin::Created)];
    ground.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    for (chats, last_chat) in [(3, 5), (2, 4)] {
        let other = Ground::new();
        let applications =
            [(ground.token, ApplicationCountsDelta { chats, last_chat, ..ApplicationCountsDelta::default() })].into();
        let step = Step { partition: other.partition, from: Offset::START, to: at(1) };
        let changes = CountsChanges { applications, ..CountsChanges::default() };
        assert_eq!(apply_counts(&store, step, changes).await, Applied::Done);
    }
    let application = views.application(ground.token).await.unwrap_or_else(|error| panic!("{error}"));
    let expected = ApplicationView { name: "app".into(), token: ground.token, chats_count: 5 };
    assert_eq!(application, Some(expected));
}

fn seen(numbers: &[u32]) -> ChatCounts {
    let mut counts = ChatCounts::default();
    counts.created = true;
    numbers.iter().for_each(|number| counts.see(message_number(*number)));
    counts
}

async fn load(store: &Arc<dyn ProjectionStore>, ground: &Ground, chat: u32) -> Option<ChatCounts> {
    let loaded = store.chat_counts(&[ground.chat(chat)]).await;
    loaded.unwrap_or_else(|error| panic!("chat_counts: {error}")).remove(&ground.chat(chat))
}

async fn checkpoint(store: &Arc<dyn ProjectionStore>, projection: Projection, partition: PartitionId) -> Checkpoint {
    store.checkpoint(projection, partition).await.unwrap_or_else(|error| panic!("checkpoint: {error}"))
}

async fn apply_views(store: &Arc<dyn ProjectionStore>, step: Step, changes: ViewsChanges) -> Applied {
    store.apply_views(step, changes).await.unwrap_or_else(|error| panic!("apply: {error}"))
}

async fn apply_counts(store: &Arc<dyn ProjectionStore>, step: Step, changes: CountsChanges) -> Applied {
    store.apply_counts(step, changes).await.unwrap_or_else(|error| panic!("apply: {error}"))
}

async fn dead_letters(store: &Arc<dyn ProjectionStore>, partition: PartitionId) -> Vec<crate::LogPlace> {
    let letters = store.dead_letters(partition, MANY).await.unwrap_or_else(|error| panic!("dead letters: {error}"));
    letters.into_iter().map(|letter| letter.place).collect()
}

async fn name(views: &Arc<dyn Views>, ground: &Ground) -> Option<String> {
    let application = views.application(ground.token).await.unwrap_or_else(|error| panic!("application: {error}"));
    application.map(|application| application.name)
}

async fn message(views: &Arc<dyn Views>, ground: &Ground, chat: u32, number: u32) -> Option<String> {
    let (chat, number) = (ground.chat(chat), message_number(number));
    let one = views.message(chat, number).await.unwrap_or_else(|error| panic!("message: {error}"));
    let listed = views.messages(chat, Page::FIRST).await.unwrap_or_else(|error| panic!("messages: {error}"));
    let listed = listed.into_iter().flat_map(|slice| slice.items).find(|message| message.number == number);
    assert_eq!(one, listed, "a message alone and in its list are the same");
    one.map(|MessageView { body, .. }| body)
}
