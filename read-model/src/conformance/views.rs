//! The checks of [`Views`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use events::{ApplicationToken, ChatKey, MessageNumber, Offset, Position};

use super::{Fixture, LONG_WAIT, SHORT_WAIT, message_number};
use crate::changes::{NameOrigin, ViewsChanges};
use crate::page::{Cursor, MAX_BYTES, MAX_ITEMS, Page, Slice};
use crate::store::{Projection, ProjectionStore};
use crate::view::{ChatView, MessageView};
use crate::views::Views;

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
            chats_without_counts_have_no_messages(store, views) => HidesUncountedChats,
            texts_are_returned_unchanged(store, views) => TrimsTexts,
            lists_are_paged_both_ways(store, views) => NeverHasMore,
            lists_are_cut_by_size(store, views) => IgnoresSize,
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
    assert_eq!(views.chats(unknown.token, Page::FIRST).await.unwrap(), None);
    assert_eq!(views.chat(fixture.chat(1)).await.unwrap(), None);
    assert_eq!(views.messages(fixture.chat(1), Page::FIRST).await.unwrap(), None);
    assert_eq!(views.message(fixture.chat(2), message_number(1)).await.unwrap(), None);
    let empty = Slice { items: vec![], more: false };
    assert_eq!(views.messages(fixture.chat(2), Page::FIRST).await.unwrap(), Some(empty));
}

/// A chat list exists once the application or one of its chats is applied, whichever comes first.
pub async fn a_chat_list_exists_with_the_application_or_a_chat(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let (mut named, mut chatty) = (Fixture::new(), Fixture::new());
    let names = vec![named.name("app", NameOrigin::Created)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let chats = vec![chatty.chat_row(1)];
    chatty.apply(&store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
    for (token, chats) in [(named.token, 0), (chatty.token, 1)] {
        let slice = views.chats(token, Page::FIRST).await.unwrap();
        assert_eq!(slice.map(|slice| slice.items.len()), Some(chats));
        let above = Page { cursor: Cursor::After(chatty.chat(9).number), limit: 1 };
        let slice = views.chats(token, above).await.unwrap();
        assert_eq!(slice, Some(Slice { items: vec![], more: false }));
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
    assert!(views.chat(fixture.chat(1)).await.unwrap().is_some(), "the chat at the position is not shown");
}

/// A chat that `counts` has not applied yet is shown with no messages.
pub async fn chats_without_counts_have_no_messages(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
    let mut fixture = Fixture::new();
    let chats = vec![fixture.chat_row(1)];
    let messages = vec![fixture.message_row(1, 1, "x")];
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    let expected = ChatView { number: fixture.chat(1).number, messages_count: 0 };
    assert_eq!(views.chat(fixture.chat(1)).await.unwrap(), Some(expected));
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
    assert_eq!(application.map(|application| application.name).as_deref(), Some(special));
    for (number, body) in [(1, special), (2, &long)] {
        let message = views.message(fixture.chat(1), message_number(number)).await.unwrap();
        assert!(message.is_some_and(|message| message.body == body), "message {number}");
    }
}

/// From any cursor a list goes upwards or downwards, says whether there is more, and returns at most `limit` items.
pub async fn lists_are_paged_both_ways(store: Arc<dyn ProjectionStore>, views: Arc<dyn Views>) {
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
        let slice = read_messages(&views, fixture.chat(3), Page { cursor, limit }).await;
        let numbers: Vec<_> = slice.items.iter().map(|message| message.number.get()).collect();
        assert_eq!((numbers, slice.more), (expected, more), "{cursor:?} {limit}");
    }
    let before_last = Page { cursor: Cursor::Before(fixture.chat(5).number), limit: 2 };
    let chats = views.chats(fixture.token, before_last).await.unwrap().unwrap();
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
    let slice = views.applications(Page { cursor, limit: 1 }).await.unwrap();
    assert_eq!(slice.items.first().map(|application| application.token), Some(token));
    for (cursor, ascending) in [(Cursor::First, true), (Cursor::Last, false)] {
        let page = Page { cursor, limit: MAX_ITEMS };
        let slice = views.applications(page).await.unwrap();
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
    views.messages(chat, page).await.unwrap().unwrap()
}
