//! The checks of [`Feed`].

use std::collections::BTreeSet;
use std::sync::Arc;

use events::{ApplicationToken, Offset, PartitionId, Place, Position, UnixMillis};

use super::{Fixture, LONG_WAIT, OCCURRED_AT, SHORT_WAIT, author, message_number};
use crate::changes::{MessageRow, NameOrigin, SourceEvent, ViewsChanges};
use crate::feed::{Feed, FeedEvent, FeedPage, FeedSelection, Happening};
use crate::page::MAX_BYTES;
use crate::store::ProjectionStore;

/// Most pages that a check reads. Other checks may have written many events.
const MAX_PAGES: usize = 10_000;
/// More events than any check writes.
const ALL: u32 = 1_000;
/// Chats that are created while others read.
const CREATED_MEANWHILE: u32 = 100;

/// Lists the checks of [`Feed`](crate::Feed), each with the parts of the adapter that it takes and the
/// [`FeedFault`](crate::conformance::FeedFault) that it must find.
///
/// Calls the macro `$callback` with the arguments, the path of the suite and the list. A check writes to the part
/// `store` and reads from the part `feed`.
#[macro_export]
macro_rules! feed_conformance {
    ($callback:ident $(, $($arguments:tt)*)?) => {
        $callback! { $($($arguments)*)?; $crate::conformance;
            events_are_told_as_they_were(store, feed) => OmitsAuthorsOfEvents,
            what_views_does_not_show_is_not_told(store, feed) => RepeatsEvents,
            messages_before_the_creation_of_their_chat_are_never_told(store, feed) => TellsOfHiddenChats,
            whoever_reads_on_meets_each_event_once(store, feed) => SkipsEvents,
            a_page_begins_behind_any_position(store, feed) => BeginsAtTheStart,
            a_selection_is_told_of_its_chats_alone(store, feed) => TellsOfAllChats,
            a_chat_among_many_events_is_told_in_log_order(store, feed) => SkipsEvents,
            the_feed_exists_with_its_application(store, feed) => IsEmptyForAbsent,
            a_page_has_some_of_each_partition(store, feed) => PrefersAPartition,
            a_page_of_events_is_cut_by_its_text(store, feed) => JoinsPages,
            a_page_that_has_all_ends_where_the_feed_ends(store, feed) => StaysBehind,
            chats_that_are_created_while_pages_are_read_are_told(store, feed) => PassesOverWhatComes,
            the_tail_tells_of_all_applications(store, feed) => TailOmitsApplications,
            followers_are_woken_when_the_feed_goes_on(store, feed) => NeverWakes,
        }
    };
}

fn all_of(token: ApplicationToken) -> FeedSelection {
    FeedSelection { token, application: true, chats: None }
}

/// The events of some chats of the fixture, perhaps with those of the application.
fn some_of(fixture: &Fixture, application: bool, chats: &[u32]) -> FeedSelection {
    let chats = chats.iter().map(|chat| fixture.chat(*chat).number).collect();
    FeedSelection { token: fixture.token, application, chats: Some(chats) }
}

async fn read_page(feed: &Arc<dyn Feed>, selection: &FeedSelection, after: &Position, limit: u32) -> FeedPage {
    let page = feed.page(selection, after, limit).await.unwrap().unwrap();
    assert!(page.events.len() <= limit as usize, "{} events for a limit of {limit}", page.events.len());
    assert!(page.next.covers(after), "the position steps back");
    page
}

/// Reads on from a position to the end, in pages of this limit. Returns the events and the last position.
async fn read_on(
    feed: &Arc<dyn Feed>,
    selection: &FeedSelection,
    after: &Position,
    limit: u32,
) -> (Vec<FeedEvent>, Position) {
    let (mut events, mut after) = (Vec::new(), after.clone());
    for _ in 0..MAX_PAGES {
        let page = read_page(feed, selection, &after, limit).await;
        assert!(page.events.iter().all(|event| selection.selects(event)), "{:?}", page.events);
        events.extend(page.events);
        after = page.next;
        if !page.more {
            return (events, after);
        }
    }
    panic!("the pages have no end");
}

async fn read_all(feed: &Arc<dyn Feed>, fixture: &Fixture) -> Vec<FeedEvent> {
    read_on(feed, &all_of(fixture.token), &Position::default(), ALL).await.0
}

fn offsets(events: &[FeedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.place.offset.0).collect()
}

/// An event of the fixture's application at this offset, as it must be told.
fn told(fixture: &Fixture, offset: u64, happening: Happening) -> FeedEvent {
    let place = Place { partition: fixture.partition, offset: Offset(offset) };
    FeedEvent { place, created_at: OCCURRED_AT, token: fixture.token, happening }
}

fn again(fixture: &mut Fixture, source: SourceEvent) -> SourceEvent {
    SourceEvent { offset: fixture.next_source().offset, ..source }
}

async fn create_chats(fixture: &mut Fixture, store: &Arc<dyn ProjectionStore>, chats: &[u32]) {
    let chats = chats.iter().map(|chat| fixture.chat_row(*chat)).collect();
    fixture.apply(store, ViewsChanges { chats, ..ViewsChanges::default() }).await;
}

async fn post(fixture: &mut Fixture, store: &Arc<dyn ProjectionStore>, messages: &[(u32, u32)]) {
    let messages = messages.iter().map(|(chat, number)| fixture.message_row(*chat, *number, "x")).collect();
    fixture.apply(store, ViewsChanges { messages, ..ViewsChanges::default() }).await;
}

/// A page covers nothing that came while it was read and that it does not have.
pub async fn chats_that_are_created_while_pages_are_read_are_told(
    store: Arc<dyn ProjectionStore>,
    feed: Arc<dyn Feed>,
) {
    let mut fixture = Fixture::new();
    let chats: Vec<u32> = (1..=CREATED_MEANWHILE).collect();
    let selection = some_of(&fixture, false, &chats);
    create_chats(&mut fixture, &store, &[1]).await;
    let creating = async {
        for chat in &chats[1..] {
            create_chats(&mut fixture, &store, &[*chat]).await;
        }
    };
    let reading = async {
        let (mut told, mut after) = (Vec::new(), Position::default());
        for _ in 0..MAX_PAGES {
            let page = read_page(&feed, &selection, &after, ALL).await;
            told.extend(page.events.iter().filter_map(|event| event.happening.chat()).map(|chat| chat.get()));
            after = page.next;
            if told.last() == chats.last() {
                break;
            }
        }
        told
    };
    let ((), told) = tokio::join!(creating, reading);
    assert_eq!(told, chats);
}

/// Each kind of event has everything that its event says, with its time and its place.
pub async fn events_are_told_as_they_were(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let long = "🚀".repeat(100 * 1024 / "🚀".len());
    let names = vec![fixture.name(&long, NameOrigin::Created), fixture.name("renamed\u{301}", NameOrigin::Renamed)];
    let chats = vec![fixture.chat_row(7)];
    let from_alice = MessageRow { author: Some(author("alice")), ..fixture.message_row(7, 3, " é\n") };
    let messages = vec![from_alice, fixture.message_row(7, 1, &long)];
    fixture.apply(&store, ViewsChanges { names, chats, messages, ..ViewsChanges::default() }).await;
    let (chat, number) = (fixture.chat(7).number, message_number);
    let expected = [
        Happening::ApplicationCreated { name: long.clone() },
        Happening::ApplicationRenamed { name: "renamed\u{301}".to_owned() },
        Happening::ChatCreated { chat },
        Happening::MessageCreated { chat, number: number(3), body: " é\n".to_owned(), author: Some(author("alice")) },
        Happening::MessageCreated { chat, number: number(1), body: long, author: None },
    ];
    let expected: Vec<_> = (0..).zip(expected).map(|(offset, happening)| told(&fixture, offset, happening)).collect();
    let found = read_all(&feed, &fixture).await;
    assert!(found == expected, "at the offsets {:?}", offsets(&found));
}

/// Repeats and losers of conflicts are not told, in their batch or a later one. A name that a later one has replaced is.
pub async fn what_views_does_not_show_is_not_told(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let names = vec![
        fixture.name("a", NameOrigin::Created),
        fixture.name("b", NameOrigin::Renamed),
        fixture.name("c", NameOrigin::Renamed),
    ];
    let chats = vec![fixture.chat_row(1)];
    let messages = vec![fixture.message_row(1, 1, "first")];
    let changes = ViewsChanges { names, chats, messages, ..ViewsChanges::default() };
    fixture.apply(&store, changes.clone()).await;
    let mut repeated = changes;
    for change in &mut repeated.names {
        change.source = again(&mut fixture, change.source);
    }
    repeated.chats[0].source = again(&mut fixture, repeated.chats[0].source);
    repeated.messages[0].source = again(&mut fixture, repeated.messages[0].source);
    repeated.names.push(fixture.name("another creation", NameOrigin::Created));
    repeated.chats.push(fixture.chat_row(1));
    repeated.messages.push(fixture.message_row(1, 1, "another event"));
    let once = fixture.message_row(1, 2, "twice in one batch");
    let twice = MessageRow { source: again(&mut fixture, once.source), ..once.clone() };
    repeated.messages.extend([once.clone(), twice]);
    fixture.apply(&store, repeated).await;
    assert_eq!(offsets(&read_all(&feed, &fixture).await), [0, 1, 2, 3, 4, once.source.offset.0]);
}

/// A message that came before the creation of its chat is told neither then nor later, so all followers are told the same. What comes
/// after the creation is, also in its batch.
pub async fn messages_before_the_creation_of_their_chat_are_never_told(
    store: Arc<dyn ProjectionStore>,
    feed: Arc<dyn Feed>,
) {
    let mut fixture = Fixture::new();
    create_chats(&mut fixture, &store, &[1]).await;
    post(&mut fixture, &store, &[(2, 1)]).await;
    let before = read_on(&feed, &all_of(fixture.token), &Position::default(), ALL).await;
    assert_eq!(offsets(&before.0), [0]);
    let early = fixture.message_row(2, 2, "in the batch of the creation");
    let chats = vec![fixture.chat_row(2)];
    let messages = vec![early, fixture.message_row(2, 3, "after the creation")];
    fixture.apply(&store, ViewsChanges { chats, messages, ..ViewsChanges::default() }).await;
    post(&mut fixture, &store, &[(2, 4)]).await;
    assert_eq!(offsets(&read_on(&feed, &all_of(fixture.token), &before.1, ALL).await.0), [3, 4, 5]);
    assert_eq!(offsets(&read_all(&feed, &fixture).await), [0, 3, 4, 5]);
    let (of_chat, _) = read_on(&feed, &some_of(&fixture, false, &[2]), &Position::default(), ALL).await;
    assert_eq!(offsets(&of_chat), [3, 4, 5]);
}

/// Whatever the size of the pages, and also when events come between two of them.
pub async fn whoever_reads_on_meets_each_event_once(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    other.token = fixture.token;
    create_chats(&mut fixture, &store, &[1, 2]).await;
    create_chats(&mut other, &store, &[3]).await;
    let mut position = read_page(&feed, &all_of(fixture.token), &Position::default(), 1).await.next;
    let mut met = 1;
    for number in 1..=6 {
        post(&mut fixture, &store, &[(1, number), (2, number)]).await;
        post(&mut other, &store, &[(3, number)]).await;
        let page = read_page(&feed, &all_of(fixture.token), &position, 2).await;
        met += page.events.len();
        position = page.next;
    }
    let (rest, end) = read_on(&feed, &all_of(fixture.token), &position, 2).await;
    assert_eq!(met + rest.len(), 2 + 1 + 6 * 3);
    assert_eq!(read_on(&feed, &all_of(fixture.token), &end, 2).await.0, []);
    for limit in [1, 2, 3, 5, ALL] {
        let (events, _) = read_on(&feed, &all_of(fixture.token), &Position::default(), limit).await;
        let of = |partition: PartitionId| {
            events.iter().filter(move |event| event.place.partition == partition).map(|event| event.place.offset.0)
        };
        assert!(of(fixture.partition).eq(0..14), "in pages of {limit}");
        assert!(of(other.partition).eq(0..7), "in pages of {limit}");
    }
}

/// Any position can be read after, not only those of pages.
pub async fn a_page_begins_behind_any_position(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    create_chats(&mut fixture, &store, &[1, 2]).await;
    post(&mut fixture, &store, &[(1, 1), (2, 1), (1, 2), (2, 2)]).await;
    for bound in 0..=7 {
        let after = Position::up_to(fixture.partition, Offset(bound));
        let (events, _) = read_on(&feed, &all_of(fixture.token), &after, ALL).await;
        assert!(offsets(&events).into_iter().eq(bound..6.max(bound)), "after {after}: {:?}", offsets(&events));
        let (events, _) = read_on(&feed, &some_of(&fixture, false, &[1]), &after, ALL).await;
        let expected = [0, 2, 4].into_iter().filter(|offset| *offset >= bound);
        assert!(offsets(&events).into_iter().eq(expected), "after {after}: {:?}", offsets(&events));
    }
}

/// Chats that do not exist are passed over.
pub async fn a_selection_is_told_of_its_chats_alone(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    let names = vec![fixture.name("a", NameOrigin::Created)];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    create_chats(&mut fixture, &store, &[1, 2, 3]).await;
    create_chats(&mut other, &store, &[1]).await;
    post(&mut fixture, &store, &[(3, 1), (1, 1), (2, 1)]).await;
    post(&mut other, &store, &[(1, 1)]).await;
    let names = vec![fixture.name("b", NameOrigin::Renamed)];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    let expected: [(FeedSelection, &[u64]); 5] = [
        (some_of(&fixture, true, &[1, 3]), &[0, 1, 3, 4, 5, 7]),
        (some_of(&fixture, false, &[2, 9]), &[2, 6]),
        (some_of(&fixture, true, &[]), &[0, 7]),
        (some_of(&fixture, false, &[]), &[]),
        (FeedSelection { application: false, ..all_of(fixture.token) }, &[1, 2, 3, 4, 5, 6]),
    ];
    for (selection, expected) in expected {
        for limit in [1, ALL] {
            let (events, _) = read_on(&feed, &selection, &Position::default(), limit).await;
            assert_eq!(offsets(&events), expected, "{selection:?}");
        }
    }
}

/// The numbers of messages need not be in log order. Most events are of another chat.
pub async fn a_chat_among_many_events_is_told_in_log_order(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    create_chats(&mut fixture, &store, &[1, 2, 3]).await;
    let numbers = [2, 1, 40, 3, 39];
    for (step, number) in (0..).zip(numbers) {
        let others: Vec<_> = (1..=300).map(|other| (1, step * 300 + other)).collect();
        post(&mut fixture, &store, &others).await;
        post(&mut fixture, &store, &[(2, number), (3, number)]).await;
    }
    for (chats, limit) in [([2].as_slice(), 1), (&[2], 2), (&[2, 3], 3), (&[2, 3], ALL)] {
        let (events, _) = read_on(&feed, &some_of(&fixture, false, chats), &Position::default(), limit).await;
        let read = offsets(&events);
        assert!(read.is_sorted(), "{read:?}");
        let told = events.iter().filter_map(|event| match &event.happening {
            Happening::MessageCreated { chat, number, .. } if chat.get() == 2 => Some(number.get()),
            _ => None,
        });
        assert!(told.eq(numbers), "{read:?}");
        assert_eq!(events.len(), chats.len() * (1 + numbers.len()));
    }
    let (events, _) = read_on(&feed, &all_of(fixture.token), &Position::default(), 100).await;
    assert!(offsets(&events).into_iter().eq(0..3 + 5 * 302));
}

/// An application whose chat alone is shown exists.
pub async fn the_feed_exists_with_its_application(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let start = Position::default();
    assert_eq!(feed.page(&all_of(fixture.token), &start, ALL).await.unwrap(), None);
    post(&mut fixture, &store, &[(1, 1)]).await;
    assert_eq!(feed.page(&all_of(fixture.token), &start, ALL).await.unwrap(), None, "nothing of it is shown");
    create_chats(&mut fixture, &store, &[2]).await;
    assert_eq!(offsets(&read_all(&feed, &fixture).await), [1]);
    let mut named = Fixture::new();
    let names = vec![named.name("a", NameOrigin::Renamed)];
    named.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    assert_eq!(offsets(&read_all(&feed, &named).await), [0]);
}

/// A partition with many events keeps none from being told of others. The events are in the order of their times, as far as each
/// partition's own order allows.
pub async fn a_page_has_some_of_each_partition(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    other.token = fixture.token;
    create_chats(&mut fixture, &store, &[1]).await;
    create_chats(&mut other, &store, &[2]).await;
    for number in 1..=20 {
        for (fixture, chat, time) in [(&mut fixture, 1, 10), (&mut other, 2, 15)] {
            let row = fixture.message_row(chat, number, "x");
            let created_at = UnixMillis(OCCURRED_AT.0 + time + u64::from(number) * 10);
            let messages = vec![MessageRow { created_at, ..row }];
            fixture.apply(&store, ViewsChanges { messages, ..ViewsChanges::default() }).await;
        }
    }
    for selection in [all_of(fixture.token), some_of(&fixture, false, &[1, 2])] {
        let page = read_page(&feed, &selection, &Position::default(), 10).await;
        let partitions: BTreeSet<_> = page.events.iter().map(|event| event.place.partition).collect();
        assert!(page.more && partitions.len() == 2, "{:?}", page.events);
        assert!(page.events.is_sorted_by_key(|event| event.created_at), "{:?}", page.events);
        let (all, _) = read_on(&feed, &selection, &Position::default(), 10).await;
        assert_eq!(all.len(), 42);
    }
}

/// A page ends with the event that brings its texts to the bound.
pub async fn a_page_of_events_is_cut_by_its_text(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    create_chats(&mut fixture, &store, &[1]).await;
    let long = "x".repeat(MAX_BYTES / 2);
    let messages = (1..=5).map(|number| fixture.message_row(1, number, &long)).collect();
    fixture.apply(&store, ViewsChanges { messages, ..ViewsChanges::default() }).await;
    for selection in [all_of(fixture.token), some_of(&fixture, false, &[1])] {
        let page = read_page(&feed, &selection, &Position::default(), ALL).await;
        assert!(page.more && offsets(&page.events) == [0, 1, 2], "{:?}", offsets(&page.events));
        let (all, _) = read_on(&feed, &selection, &Position::default(), ALL).await;
        assert!(offsets(&all).into_iter().eq(0..6), "{:?}", offsets(&all));
    }
}

/// Such a page has passed the events of others, and those that are not told. The next page need not look at them again.
pub async fn a_page_that_has_all_ends_where_the_feed_ends(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    create_chats(&mut fixture, &store, &[1]).await;
    create_chats(&mut other, &store, &[1]).await;
    fixture.next_source();
    post(&mut fixture, &store, &[(9, 1)]).await;
    let own = [fixture.position(Offset(2)), other.position(Offset(0))];
    for selection in [all_of(fixture.token), some_of(&fixture, true, &[1]), some_of(&fixture, false, &[7])] {
        let page = read_page(&feed, &selection, &Position::default(), 1).await;
        assert!(!page.more, "{page:?}");
        assert!(own.iter().all(|position| page.next.covers(position)), "{}", page.next);
    }
    let end = feed.end().await.unwrap();
    assert!(own.iter().all(|position| end.covers(position)), "{end}");
    assert_eq!(end.bound(fixture.partition), Offset(3));
}

/// Of all applications, in log order within each partition, in pages.
pub async fn the_tail_tells_of_all_applications(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    let mut other = Fixture::new();
    let mut position = feed.end().await.unwrap();
    let names = vec![fixture.name("a", NameOrigin::Created)];
    fixture.apply(&store, ViewsChanges { names, ..ViewsChanges::default() }).await;
    create_chats(&mut fixture, &store, &[1]).await;
    create_chats(&mut other, &store, &[1]).await;
    post(&mut fixture, &store, &[(1, 1), (1, 2)]).await;
    post(&mut other, &store, &[(1, 1), (1, 2)]).await;
    let mut told = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = feed.tail(&position, 2).await.unwrap();
        assert!(page.events.len() <= 2 && page.next.covers(&position));
        told.extend(page.events);
        position = page.next;
        if !page.more {
            break;
        }
    }
    let of = |token| told.iter().filter(move |event| event.token == token).map(|event| event.place.offset.0);
    assert!(of(fixture.token).eq(0..4), "{told:?}");
    assert!(of(other.token).eq(0..3), "{told:?}");
    let mut same: Vec<_> = told.iter().filter(|event| event.token == fixture.token).cloned().collect();
    same.sort_by_key(|event| event.place);
    assert_eq!(same, read_all(&feed, &fixture).await, "the tail and a page tell the same");
}

/// A wait for what the feed has already ends at once, one for what it gets when that comes, and one for nothing with its time.
pub async fn followers_are_woken_when_the_feed_goes_on(store: Arc<dyn ProjectionStore>, feed: Arc<dyn Feed>) {
    let mut fixture = Fixture::new();
    create_chats(&mut fixture, &store, &[1]).await;
    let own = fixture.position(Offset(0));
    let seen = feed.passed(&Position::default(), LONG_WAIT).await.unwrap();
    assert!(seen.covers(&own), "{seen}");
    let seen = feed.end().await.unwrap();
    let waiting = tokio::spawn({
        let (feed, seen) = (Arc::clone(&feed), seen.clone());
        async move {
            let (mut end, began) = (seen, tokio::time::Instant::now());
            // Other checks may go on, too.
            while end.bound(fixture.partition) < Offset(2) && began.elapsed() < LONG_WAIT {
                end = feed.passed(&end, LONG_WAIT).await.unwrap();
            }
            assert!(began.elapsed() < LONG_WAIT, "nobody has woken the follower");
            end
        }
    });
    post(&mut fixture, &store, &[(1, 1)]).await;
    assert_eq!(waiting.await.unwrap().bound(fixture.partition), Offset(2));
    let mut beyond = Position::default();
    feed.end().await.unwrap().bounds().for_each(|(partition, _)| beyond.extend(partition, Offset(1 << 40)));
    let end = feed.passed(&beyond, SHORT_WAIT).await.unwrap();
    assert_eq!(end.bound(fixture.partition), Offset(2), "it says where it is");
}
