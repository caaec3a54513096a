//! The checks of [`Views`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use events::{ApplicationToken, Author, ChatKey, MessageNumber, Offset, Position, UnixMillis};

use super::{Fixture, LOG, LONG_WAIT, OCCURRED_AT, SHORT_WAIT, author, checkpoint_at, message_number};
use crate::changes::{ApplicationCountsDelta, CountsChanges, MessageRow, NameChange, NameOrigin, ViewsChanges};
use crate::counts::ChatCounts;
use crate::page::{Cursor, MAX_BYTES, MAX_ITEMS, Page, Slice};
use crate::store::{Applied, Checkpoint, CheckpointMove, Projection, ProjectionStore};
use crate::view::{ChatView, MessageView};
use crate::views::{LastMessage, Views};

/// Lists the checks of [`Views`](crate::Views), each with the parts of the adapter that it takes and the
/// [`ViewsFault`](crate::conformance::ViewsFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. A check writes to the part
/// `store` and reads from the part `views`.
#[macro_export]
macro_rules! views_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            missing_items_are_none(store, views) => ReturnsEmptyForAbsent,
            a_chat_list_exists_with_the_application_or_a_chat(store, views) => ReturnsAbsentForEmpty,
            readers_wait_for_a_position(store, views) => NeverWaits,
            the_log_of_the_checkpoints_is_known(store, views) => ForgetsTheLog,
            chats_without_counts_have_no_messages(store, views) => HidesUncountedChats,
            texts_are_returned_unchanged(store, views) => TrimsTexts,
            lists_are_paged_both_ways(store, views) => NeverHasMore,
            lists_are_cut_by_size(store, views) => IgnoresSize,
            messages_show_their_events(store, views) => OmitsPositions,
            a_chat_shows_its_creation_and_its_count(store, views) => OmitsCounts,
            applications_show_the_checkpoints(store, views) => OmitsPositions,
            an_empty_list_shows_what_it_belongs_to(store, views) => OmitsPositionsOfEmptyLists,
            messages_have_authors_and_times(store, views) => OmitsAuthors,
            applications_and_chats_have_times(store, views) => OmitsTimes,
            a_chat_shows_its_last_message_on_request(store, views) => OmitsLastMessages,
            a_list_of_chats_is_cut_by_the_size_of_last_messages(store, views) => OmitsLastMessages,
        }
    };
}

/// An item without a row is `None`, and so is the list of an unknown parent. The list of a known parent may be empty.
pub async fn missing_items_are_none(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("app", NameOrigin::Created)];
    let chats = vec![fixture.chat_row(2)];
    fixture.apply(&store, ViewsChanges { names, chats, ..ViewsChanges::default() }).await;
    let unknown = Fixture::new();
    assert_eq!(views.application(unknown.token).await.unwrap(), None);
    assert_eq!(views.chats(unknown.token, Page::FIRST, LastMessage::Skip).await.unwrap(), None);
    assert_eq!(views.chat(fixture.chat(1), LastMessage::Skip).await.unwrap(), None);
    assert_eq!(views.messages(fixture.chat(1), Page::FIRST).await.unwrap(), None);
    assert_eq!(views.message(fixture.chat(2), message_number(1)).await.unwrap(), None);
    assert_eq!(views.find_chat(fixture.chat(1)).await.unwrap(), None);
    let empty = Slice { items: vec![], more: false };
    let messages = views.messages(fixture.chat(2), Page::FIRST).await.unwrap();
    assert_eq!(messages.map(|shown| shown.value), Some(empty));
}

/// A chat list exists once the application or one of its chats is applied, whichever comes first.
pub async fn a_chat_list_exists_with_the_application_or_a_chat(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let (mut named, mut chatty) = (Fixture::new(), Fixture::new());
    let names = vec![named.name("app", NameOrigin::Created)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let chats = vec![chatty.chat_row(1)];
    chatty.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    for (token, chats) in [(named.token, 0), (chatty.token, 1)] {
        let slice = views.chats(token, Page::FIRST, LastMessage::Skip).await.unwrap();
        assert_eq!(slice.map(|slice| slice.value.items.len()), Some(chats));
        let above = Page { cursor: Cursor::After(chatty.chat(9).number), limit: 1 };
        let slice = views.chats(token, above, LastMessage::Skip).await.unwrap();
        assert_eq!(slice.map(|slice| slice.value), Some(Slice { items: vec![], more: false }));
    }
}

/// A position is reached once the projection's checkpoint has passed it, and not before. A call returns at once if the
/// position is reached already. Otherwise it waits, and returns as soon as the position is reached.
pub async fn readers_wait_for_a_position(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1)];
    let position = Position::up_to(fixture.partition, fixture.next);
    let start = Position::up_to(fixture.partition, Offset::START);
    let reached = async |projection, within| views.reached(projection, &position, within).await.unwrap();
    assert!(!reached(Projection::Views, SHORT_WAIT).await, "nothing was applied yet");
    for within in [Duration::ZERO, SHORT_WAIT] {
        assert!(
            views.reached(Projection::Views, &start, within).await.unwrap(),
            "the start is not reached although nothing was applied"
        );
    }
    let mut waiter = views.reached(Projection::Views, &position, LONG_WAIT);
    let waits = poll_fn(|context| Poll::Ready(waiter.as_mut().poll(context).is_pending())).await;
    assert!(waits, "it did not wait");
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert!(waiter.await.unwrap(), "it was not woken");
    assert!(reached(Projection::Views, Duration::ZERO).await, "a second call does not see that it was reached");
    assert!(!reached(Projection::Counts, SHORT_WAIT).await, "another projection was taken for this one");
    assert!(
        views.chat(fixture.chat(1), LastMessage::Skip).await.unwrap().is_some(),
        "the chat at the position is not shown"
    );
}

/// As soon as a batch was applied with the log that it is of.
pub async fn the_log_of_the_checkpoints_is_known(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let start = store.checkpoint(Projection::Views, fixture.partition).await.unwrap();
    let log = Some(start.log.unwrap_or(LOG));
    let chats = vec![fixture.chat_row(1)];
    let to = Checkpoint { log, ..checkpoint_at(fixture.next.0) };
    let checkpoint_move = CheckpointMove { partition: fixture.partition, from: start.next, to };
    let applied = store.apply_views(checkpoint_move, ViewsChanges { chats, ..ViewsChanges::default() }).await.unwrap();
    assert_eq!((applied, views.log_id().await.unwrap()), (Applied::Done, log));
}

/// A chat that `counts` has not applied yet is shown with no messages.
pub async fn chats_without_counts_have_no_messages(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1)];
    let messages = vec![fixture.message_row(1, 1, "x")];
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let number = fixture.chat(1).number;
    let expected = ChatView { number, messages_count: 0, created_at: Some(OCCURRED_AT), last_message: None };
    assert_eq!(views.chat(fixture.chat(1), LastMessage::Skip).await.unwrap().map(|shown| shown.value), Some(expected));
}

/// Every character that a message may have, and the longest message, are shown as they were written.
pub async fn texts_are_returned_unchanged(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let long = "🚀".repeat(16_384);
    let special = " \u{1}\u{7f}\u{85}e\u{301}\u{fffd}\u{10ffff}👩‍👩‍👧 '\";--\\%_\r\n ";
    let names = vec![fixture.name(special, NameOrigin::Created)];
    let chats = vec![fixture.chat_row(1)];
    let messages = vec![fixture.message_row(1, 1, special), fixture.message_row(1, 2, &long)];
    fixture.apply(&store, ViewsChanges { names, chats, messages, ..ViewsChanges::default() }).await;
    let application = views.application(fixture.token).await.unwrap();
    assert_eq!(application.map(|application| application.value.name).as_deref(), Some(special));
    for (number, body) in [(1, special), (2, &long)] {
        let message = views.message(fixture.chat(1), message_number(number)).await.unwrap();
        assert!(message.is_some_and(|message| message.value.body == body), "message {number}");
    }
}

/// From any cursor a list goes upwards or downwards, says whether there is more, and returns at most `limit` items.
pub async fn lists_are_paged_both_ways(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("app", NameOrigin::Created)];
    let chats = (1..=5).map(|number| fixture.chat_row(number)).collect();
    let messages = [1, 2, 4, 5, 9].map(|number| fixture.message_row(3, number, "x")).into();
    fixture.apply(&store, ViewsChanges { names, chats, messages, ..ViewsChanges::default() }).await;
    for (cursor, limit, expected, more) in [
        (Cursor::First, 5, vec![1, 2, 4, 5, 9], false),
        (Cursor::First, 2, vec![1, 2], true),
        (Cursor::After(2), 2, vec![4, 5], true),
        (Cursor::After(3), 2, vec![4, 5], true),
        (Cursor::After(4), 2, vec![5, 9], false),
        (Cursor::After(9), 2, vec![], false),
        (Cursor::After(u32::MAX), 2, vec![], false),
        (Cursor::Last, 2, vec![9, 5], true),
        (Cursor::Before(9), 2, vec![5, 4], true),
        (Cursor::Before(4), 9, vec![2, 1], false),
        (Cursor::Before(1), 9, vec![], false),
        (Cursor::Before(u32::MAX), 1, vec![9], true),
    ] {
        let cursor = match cursor {
            Cursor::First => Cursor::First,
            Cursor::Last => Cursor::Last,
            Cursor::After(number) => Cursor::After(message_number(number)),
            Cursor::Before(number) => Cursor::Before(message_number(number)),
        };
        let slice = read_messages(&views, fixture.chat(3), Page { cursor, limit }).await;
        let numbers: Vec<_> = slice.items.iter().map(|message| message.number.get()).collect();
        assert_eq!((numbers, slice.more), (expected, more), "{cursor:?} {limit}");
    }
    let before_last = Page { cursor: Cursor::Before(fixture.chat(5).number), limit: 2 };
    let chats = views.chats(fixture.token, before_last, LastMessage::Skip).await.unwrap().unwrap().value;
    assert_eq!(chats.items.iter().map(|chat| chat.number.get()).collect::<Vec<_>>(), [4, 3]);
    assert!(chats.more);
    assert_applications_are_sorted(&views, fixture.token).await;
}

/// A page that starts beside an application begins with it, and the list of all applications is sorted by token.
async fn assert_applications_are_sorted(views: &Arc<dyn Views>, token: ApplicationToken) {
    let mut bytes = *token.as_bytes();
    bytes[15] ^= 1;
    let neighbour = ApplicationToken::from_bytes(bytes);
    let cursor = if neighbour < token { Cursor::After(neighbour) } else { Cursor::Before(neighbour) };
    let slice = views.applications(Page { cursor, limit: 1 }).await.unwrap().value;
    assert_eq!(slice.items.first().map(|application| application.token), Some(token));
    for (cursor, ascending) in [(Cursor::First, true), (Cursor::Last, false)] {
        let page = Page { cursor, limit: MAX_ITEMS };
        let slice = views.applications(page).await.unwrap().value;
        let tokens: Vec<_> = slice.items.iter().map(|application| application.token).collect();
        assert!(tokens.is_sorted_by(|one, other| if ascending { one < other } else { one > other }));
    }
}

/// A page ends with the item that brings it to [`MAX_BYTES`] of text, and the next page continues behind that item.
pub async fn lists_are_cut_by_size(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let body = "x".repeat(MAX_BYTES / 4 + 1);
    let chats = vec![fixture.chat_row(1)];
    let messages = (1..=6).map(|number| fixture.message_row(1, number, &body)).collect();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let numbers = |slice: Slice<MessageView>| slice.items.iter().map(|item| item.number.get()).collect::<Vec<_>>();
    let page = Page { cursor: Cursor::First, limit: MAX_ITEMS };
    let first = read_messages(&views, fixture.chat(1), page).await;
    assert!(first.more);
    assert_eq!(numbers(first), [1, 2, 3, 4]);
    let page = Page { cursor: Cursor::After(message_number(4)), limit: MAX_ITEMS };
    let rest = read_messages(&views, fixture.chat(1), page).await;
    assert!(!rest.more);
    assert_eq!(numbers(rest), [5, 6]);
}

async fn read_messages(views: &Arc<dyn Views>, chat: ChatKey, page: Page<MessageNumber>) -> Slice<MessageView> {
    views.messages(chat, page).await.unwrap().unwrap().value
}

/// A message shows its event; a list of messages those of its rows, and its chat's creation. Neither covers later events.
pub async fn messages_show_their_events(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    // The chat comes after its first message.
    let mut messages = vec![fixture.message_row(1, 1, "x")];
    let chats = vec![fixture.chat_row(1)];
    messages.extend((2..=4).map(|number| fixture.message_row(1, number, "x")));
    let created = fixture.position(chats[0].source.offset);
    let positions: Vec<_> = messages.iter().map(|row| fixture.position(row.source.offset)).collect();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let chat = fixture.chat(1);
    for (number, position) in (1..).zip(&positions) {
        let message = views.message(chat, message_number(number)).await.unwrap().unwrap();
        assert_eq!(&message.position, position, "message {number}");
    }
    let first = Cursor::First;
    for (cursor, limit, position) in [
        (first, 9, &positions[3]),
        (first, 2, &positions[1]),
        (first, 1, &created),
        (Cursor::Last, 1, &positions[3]),
        (Cursor::Before(message_number(4)), 2, &positions[2]),
    ] {
        let list = views.messages(chat, Page { cursor, limit }).await.unwrap().unwrap();
        assert_eq!(&list.position, position, "{cursor:?} {limit}");
    }
    assert_eq!(views.find_chat(chat).await.unwrap(), Some(created));
}

/// A chat shows its creation and the last event that its count includes, alone and in a list.
pub async fn a_chat_shows_its_creation_and_its_count(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1), fixture.chat_row(2), fixture.chat_row(3)];
    let created: Vec<_> = chats.iter().map(|row| row.source.offset).collect();
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    let position = async |number| views.chat(fixture.chat(number), LastMessage::Skip).await.unwrap().unwrap().position;
    assert_eq!(position(1).await, fixture.position(created[0]), "nothing is counted yet");

    // Counts are of the events at 1, 7 and 9. The first is not later than the creation of the chat.
    let counted = |last_event, number| {
        let mut counts = ChatCounts::default();
        counts.created = true;
        counts.last_event = Some(Offset(last_event));
        counts.see(message_number(number));
        counts
    };
    for (from, to, chats) in [
        (0, 8, [(fixture.chat(2), counted(1, 1)), (fixture.chat(3), counted(7, 1))]),
        (8, 10, [(fixture.chat(1), counted(9, 1)), (fixture.chat(2), counted(1, 1))]),
    ] {
        let checkpoint_move =
            CheckpointMove { partition: fixture.partition, from: Offset(from), to: checkpoint_at(to) };
        let changes = CountsChanges { chats: chats.into(), ..CountsChanges::default() };
        assert_eq!(store.apply_counts(checkpoint_move, changes).await.unwrap(), Applied::Done);
    }
    for (number, offset) in [(1, 9), (2, 1), (3, 7)] {
        assert_eq!(position(number).await, fixture.position(Offset(offset)), "chat {number}");
    }
    for (cursor, limit, offset) in [(Cursor::First, 9, 9), (Cursor::After(fixture.chat(1).number), 1, 1)] {
        let list = views.chats(fixture.token, Page { cursor, limit }, LastMessage::Skip).await.unwrap().unwrap();
        assert_eq!(list.position, fixture.position(Offset(offset)), "{cursor:?} {limit}");
    }
}

/// The count of an application includes chats of all partitions, so its position covers the checkpoints of both projections.
pub async fn applications_show_the_checkpoints(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let (mut named, counted) = (Fixture::new(), Fixture::new());
    let names = vec![named.name("app", NameOrigin::Created)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let checkpoint_move = CheckpointMove { partition: counted.partition, from: Offset::START, to: checkpoint_at(7) };
    let delta = ApplicationCountsDelta { chats: 1, last_chat: 1, ..ApplicationCountsDelta::default() };
    let changes = CountsChanges { applications: [(named.token, delta)].into(), ..CountsChanges::default() };
    assert_eq!(store.apply_counts(checkpoint_move, changes).await.unwrap(), Applied::Done);

    let mut expected = Position::up_to(named.partition, named.next);
    expected.extend(counted.partition, Offset(7));
    let application = views.application(named.token).await.unwrap().unwrap();
    let list = views.applications(Page { cursor: Cursor::First, limit: 1 }).await.unwrap();
    for (position, what) in [(application.position, "one"), (list.position, "the list")] {
        assert!(position.covers(&expected), "{what}: {position} does not cover {expected}");
        assert_eq!(position.bound(counted.partition), Offset(7), "{what} covers what was not applied");
    }
}

/// An empty list shows that there is no more: the chat that has no messages, or what shows that there is such an application.
pub async fn an_empty_list_shows_what_it_belongs_to(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let (mut named, mut chatty) = (Fixture::new(), Fixture::new());
    let names = vec![named.name("app", NameOrigin::Created)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let list = views.chats(named.token, Page::FIRST, LastMessage::Skip).await.unwrap().unwrap();
    assert_eq!(list.position, named.position(Offset(0)));

    let chats = vec![chatty.chat_row(1)];
    chatty.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    let above = Page { cursor: Cursor::After(chatty.chat(9).number), limit: 1 };
    let list = views.chats(chatty.token, above, LastMessage::Skip).await.unwrap().unwrap();
    assert_eq!(list.position, chatty.position(Offset(0)));
    let list = views.messages(chatty.chat(1), Page::FIRST).await.unwrap().unwrap();
    assert_eq!(list.position, chatty.position(Offset(0)));
}

/// A message has the author and the time of its event, alone and in a list. Every character that an author may have is kept.
pub async fn messages_have_authors_and_times(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let long = "🚀".repeat(Author::MAX_CHARACTERS);
    let authors = [None, Some("alice"), Some(" \u{1}e\u{301}'\";--%\u{10ffff}\n "), Some(long.as_str()), Some("Alice")];
    let chats = vec![fixture.chat_row(1)];
    let messages = (1..).zip(authors).map(|(number, text)| MessageRow {
        author: text.map(author),
        created_at: UnixMillis(OCCURRED_AT.0 + u64::from(number)),
        ..fixture.message_row(1, number, "x")
    });
    let messages = messages.collect();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let listed = read_messages(&views, fixture.chat(1), Page::FIRST).await.items;
    for (number, text) in (1..).zip(authors) {
        let message = views.message(fixture.chat(1), message_number(number)).await.unwrap().unwrap().value;
        let created_at = Some(UnixMillis(OCCURRED_AT.0 + u64::from(number)));
        assert_eq!((message.author.as_ref().map(Author::as_str), message.created_at), (text, created_at));
        assert_eq!(listed[number as usize - 1], message);
    }
}

/// An application and a chat have the time of their creation, alone and in a list. An application that was renamed before its
/// creation was applied has none yet.
pub async fn applications_and_chats_have_times(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let (chat_at, application_at) = (UnixMillis(OCCURRED_AT.0 + 1), UnixMillis(OCCURRED_AT.0 + 2));
    let chats = vec![crate::ChatRow { created_at: chat_at, ..fixture.chat_row(1) }];
    let names = vec![fixture.name("renamed", NameOrigin::Renamed)];
    fixture.apply(&store, ViewsChanges { chats, names, ..ViewsChanges::default() }).await;
    let token = fixture.token;
    let application = async || views.application(token).await.unwrap().unwrap().value;
    assert_eq!(application().await.created_at, None, "only the rename was applied");
    let names = vec![NameChange { occurred_at: application_at, ..fixture.name("created", NameOrigin::Created) }];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let shown = application().await;
    assert_eq!((shown.name.as_str(), shown.created_at), ("renamed", Some(application_at)));
    let mut listed = views.applications(Page::FIRST).await.unwrap().value.items.into_iter();
    if let Some(listed) = listed.find(|listed| listed.token == token) {
        assert_eq!(listed, shown);
    }
    let chat = views.chat(fixture.chat(1), LastMessage::Skip).await.unwrap().unwrap().value;
    assert_eq!(chat.created_at, Some(chat_at));
    let chats = views.chats(token, Page::FIRST, LastMessage::Skip).await.unwrap().unwrap().value.items;
    assert_eq!(chats, [chat]);
}

/// A chat has its message with the highest number, whatever was counted, and only if the reader asks for it. The position covers it.
pub async fn a_chat_shows_its_last_message_on_request(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats: Vec<_> = [1, 2, 3, u32::MAX].map(|number| fixture.chat_row(number)).into();
    let created: Vec<_> = chats.iter().map(|row| row.source.offset).collect();
    // A higher number comes before a lower one.
    let mut messages: Vec<_> = [(1, 1), (3, 9), (3, 7), (3, 1), (u32::MAX, u32::MAX), (u32::MAX, 1)]
        .map(|(chat, number)| fixture.message_row(chat, number, &format!("{number} of {chat}")))
        .into();
    messages[1].author = Some(author("alice"));
    let rows = messages.clone();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let last = |row: &MessageRow| MessageView {
        number: row.number,
        body: row.body.clone(),
        author: row.author.clone(),
        created_at: Some(row.created_at),
    };
    let expected = [(1, Some(&rows[0])), (2, None), (3, Some(&rows[1])), (u32::MAX, Some(&rows[4]))];
    for ((number, row), created) in expected.into_iter().zip(created) {
        let skipped = views.chat(fixture.chat(number), LastMessage::Skip).await.unwrap().unwrap();
        assert_eq!((skipped.value.last_message, skipped.position), (None, fixture.position(created)), "chat {number}");
        let shown = views.chat(fixture.chat(number), LastMessage::Show).await.unwrap().unwrap();
        assert_eq!(shown.value.last_message, row.map(last), "chat {number}");
        let event = row.map_or(created, |row| row.source.offset);
        assert_eq!(shown.position, fixture.position(event), "chat {number}");
    }
    for (cursor, ascends) in [(Cursor::First, true), (Cursor::Last, false)] {
        let page = Page { cursor, limit: 9 };
        let skipped = views.chats(fixture.token, page, LastMessage::Skip).await.unwrap().unwrap().value;
        assert!(skipped.items.iter().all(|chat| chat.last_message.is_none()));
        let shown = views.chats(fixture.token, page, LastMessage::Show).await.unwrap().unwrap();
        let mut listed: Vec<_> =
            shown.value.items.into_iter().map(|chat| (chat.number.get(), chat.last_message)).collect();
        if !ascends {
            listed.reverse();
        }
        assert_eq!(listed, expected.map(|(number, row)| (number, row.map(last))), "{cursor:?}");
        assert_eq!(shown.position, fixture.position(rows[4].source.offset), "{cursor:?}");
    }
    assert_eq!(views.chat(fixture.chat(9), LastMessage::Show).await.unwrap(), None);
}

/// A page of chats ends with the chat whose last message brings it to [`MAX_BYTES`] of text.
pub async fn a_list_of_chats_is_cut_by_the_size_of_last_messages(
    store: Arc<dyn ProjectionStore>,
    views: Arc<dyn Views>,
) {
    let mut fixture = Fixture::new();
    let body = "x".repeat(MAX_BYTES / 4 + 1);
    let chats = (1..=6).map(|number| fixture.chat_row(number)).collect();
    let messages = (1..=6).map(|number| fixture.message_row(number, 1, &body)).collect();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    for (cursor, expected, more) in [
        (Cursor::First, vec![1, 2, 3, 4], true),
        (Cursor::After(fixture.chat(4).number), vec![5, 6], false),
        (Cursor::Last, vec![6, 5, 4, 3], true),
    ] {
        let page = Page { cursor, limit: MAX_ITEMS };
        let slice = views.chats(fixture.token, page, LastMessage::Show).await.unwrap().unwrap().value;
        let numbers: Vec<_> = slice.items.iter().map(|chat| chat.number.get()).collect();
        assert_eq!((numbers, slice.more), (expected, more), "{cursor:?}");
        assert!(slice.items.iter().all(|chat| chat.last_message.is_some()), "{cursor:?}");
    }
}
