//! What every [`Views`] shows.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use events::{ApplicationToken, Offset, Position};

use super::{Fixture, message_number};
use crate::changes::{NameOrigin, ViewsChanges};
use crate::page::{Cursor, MAX_BYTES, MAX_ITEMS, Page, Slice};
use crate::store::{Projection, ProjectionStore};
use crate::view::{ChatView, MessageView};
use crate::views::Views;

/// Longest wait for what must come.
const LONG_WAIT: Duration = Duration::from_secs(10);
/// How long something that must not come is waited for.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// Nothing is made up: what has no row is not there, and a list without a parent is not an empty list.
pub async fn what_is_not_there_is_none(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let (names, chats) = (vec![fixture.name("app", NameOrigin::Created)], vec![fixture.chat_row(2)]);
    fixture.apply(&store, ViewsChanges { names, chats, ..ViewsChanges::default() }).await;
    let unknown = Fixture::new();
    assert_eq!(views.application(unknown.token).await.ok(), Some(None));
    assert_eq!(views.chats(unknown.token, Page::FIRST).await.ok(), Some(None));
    assert_eq!(views.chat(fixture.chat(1)).await.ok(), Some(None));
    assert_eq!(views.messages(fixture.chat(1), Page::FIRST).await.ok(), Some(None));
    assert_eq!(views.message(fixture.chat(2), message_number(1)).await.ok(), Some(None));
    let empty = Slice { items: vec![], more: false };
    assert_eq!(views.messages(fixture.chat(2), Page::FIRST).await.ok(), Some(Some(empty)));
}

/// A chat list is there with the application or with a chat, whichever is seen first.
pub async fn chats_are_known_by_the_nearest_row(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let (mut named, mut chatty) = (Fixture::new(), Fixture::new());
    let names = vec![named.name("app", NameOrigin::Created)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let chats = vec![chatty.chat_row(1)];
    chatty.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    for (token, chats) in [(named.token, 0), (chatty.token, 1)] {
        let slice = views.chats(token, Page::FIRST).await.unwrap_or_else(|error| panic!("chats: {error}"));
        assert_eq!(slice.map(|slice| slice.items.len()), Some(chats));
        let above = Page { cursor: Cursor::After(chatty.chat(9).number), limit: 1 };
        let slice = views.chats(token, above).await.unwrap_or_else(|error| panic!("chats: {error}"));
        assert_eq!(slice, Some(Slice { items: vec![], more: false }));
    }
}

/// A position is reached once the projection's checkpoint has passed it: not before, at once if it has been, and while
/// somebody waits.
pub async fn a_position_is_waited_for(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1)];
    let position = Position::up_to(fixture.partition, fixture.next);
    let start = Position::up_to(fixture.partition, Offset::START);
    let reached = async |projection, within| {
        let reached = views.reached(projection, &position, within).await;
        reached.unwrap_or_else(|error| panic!("reached: {error}"))
    };
    assert!(!reached(Projection::Views, SHORT_WAIT).await, "nothing was applied yet");
    for within in [Duration::ZERO, SHORT_WAIT] {
        let is_there = views.reached(Projection::Views, &start, within).await;
        assert!(is_there.is_ok_and(|is_there| is_there), "who has applied nothing is not at the start");
    }
    let mut waiter = views.reached(Projection::Views, &position, LONG_WAIT);
    let waits = poll_fn(|context| Poll::Ready(waiter.as_mut().poll(context).is_pending())).await;
    assert!(waits, "it did not wait");
    fixture.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    assert!(waiter.await.is_ok_and(|reached| reached), "it was not woken");
    assert!(reached(Projection::Views, Duration::ZERO).await, "it is not seen that it was reached");
    assert!(!reached(Projection::Counts, SHORT_WAIT).await, "another projection was taken for this one");
    assert!(views.chat(fixture.chat(1)).await.is_ok_and(|chat| chat.is_some()), "what was reached is not shown");
}

/// A chat that `counts` has not seen has no messages yet.
pub async fn chats_without_counts_have_no_messages(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let (chats, messages) = (vec![fixture.chat_row(1)], vec![fixture.message_row(1, 1, "x")]);
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let expected = ChatView { number: fixture.chat(1).number, messages_count: 0 };
    assert_eq!(views.chat(fixture.chat(1)).await.ok(), Some(Some(expected)));
}

/// Any character that a message may have, and the longest message, come back as they were written.
pub async fn texts_come_back_to_the_byte(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let long = "🚀".repeat(16_384);
    let odd = " \u{1}\u{7f}\u{85}e\u{301}\u{fffd}\u{10ffff}👩‍👩‍👧 '\";--\\%_\r\n ";
    let names = vec![fixture.name(odd, NameOrigin::Created)];
    let chats = vec![fixture.chat_row(1)];
    let messages = vec![fixture.message_row(1, 1, odd), fixture.message_row(1, 2, &long)];
    fixture.apply(&store, ViewsChanges { names, chats, messages, ..ViewsChanges::default() }).await;
    let application = views.application(fixture.token).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(application.map(|application| application.name).as_deref(), Some(odd));
    for (number, body) in [(1, odd), (2, &long)] {
        let message = views.message(fixture.chat(1), message_number(number)).await.ok().flatten();
        assert!(message.is_some_and(|message| message.body == body), "message {number}");
    }
}

/// From any cursor a list goes up or down item by item, says whether there is more, and never gives more than asked.
pub async fn lists_are_walked_both_ways(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let names = vec![fixture.name("app", NameOrigin::Created)];
    let chats = (1..=5).map(|number| fixture.chat_row(number)).collect();
    let messages = [1, 2, 4, 5, 9].map(|number| fixture.message_row(3, number, "x")).into();
    fixture.apply(&store, ViewsChanges { names, chats, messages, dead_letters: vec![] }).await;
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
        let slice = messages_of(&views, &fixture, Page { cursor, limit }).await;
        let numbers: Vec<_> = slice.items.iter().map(|message| message.number.get()).collect();
        assert_eq!((numbers, slice.more), (expected, more), "{cursor:?} {limit}");
    }
    let before_last = Page { cursor: Cursor::Before(fixture.chat(5).number), limit: 2 };
    let chats = views.chats(fixture.token, before_last).await.ok().flatten().unwrap_or_else(|| panic!("no chats"));
    assert_eq!(chats.items.iter().map(|chat| chat.number.get()).collect::<Vec<_>>(), [4, 3]);
    assert!(chats.more);
    applications_are_walked(&views, fixture.token).await;
}

/// The application is met from both sides, at its place among all that are there.
async fn applications_are_walked(views: &Arc<dyn Views>, token: ApplicationToken) {
    let mut bytes = *token.as_bytes();
    bytes[15] ^= 1;
    let neighbour = ApplicationToken::from_bytes(bytes);
    let cursor = if neighbour < token { Cursor::After(neighbour) } else { Cursor::Before(neighbour) };
    let slice = views.applications(Page { cursor, limit: 1 }).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(slice.items.first().map(|application| application.token), Some(token));
    for (cursor, ascending) in [(Cursor::First, true), (Cursor::Last, false)] {
        let page = Page { cursor, limit: MAX_ITEMS };
        let slice = views.applications(page).await.unwrap_or_else(|error| panic!("{error}"));
        let tokens: Vec<_> = slice.items.iter().map(|application| application.token).collect();
        assert!(tokens.is_sorted_by(|one, other| if ascending { one < other } else { one > other }));
    }
}

/// A page ends with the item that brings it to [`MAX_BYTES`] of text, and the next page goes on there.
pub async fn lists_are_cut_by_size(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let body = "x".repeat(MAX_BYTES / 4 + 1);
    let chats = vec![fixture.chat_row(1)];
    let messages = (1..=6).map(|number| fixture.message_row(1, number, &body)).collect();
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let numbers = |slice: Slice<MessageView>| slice.items.iter().map(|item| item.number.get()).collect::<Vec<_>>();
    let message_page = |cursor| Page { cursor, limit: MAX_ITEMS };
    let chat_page = |cursor| {
        let (views, chat) = (Arc::clone(&views), fixture.chat(1));
        async move { views.messages(chat, message_page(cursor)).await.ok().flatten() }
    };
    let first = chat_page(Cursor::First).await.unwrap_or_else(|| panic!("no messages"));
    assert!(first.more);
    assert_eq!(numbers(first), [1, 2, 3, 4]);
    let rest = chat_page(Cursor::After(message_number(4))).await.unwrap_or_else(|| panic!("no messages"));
    assert!(!rest.more);
    assert_eq!(numbers(rest), [5, 6]);
}

async fn messages_of(
    views: &Arc<dyn Views>,
    fixture: &Fixture,
    page: Page<events::MessageNumber>,
) -> Slice<MessageView> {
    let messages = views.messages(fixture.chat(3), page).await.unwrap_or_else(|error| panic!("messages: {error}"));
    messages.unwrap_or_else(|| panic!("no such chat"))
}
