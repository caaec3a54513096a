//! Nothing is missed and nothing is told twice, from whatever moment and position on somebody follows.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{ChatNumber, Place, Position};
use read_model::FeedSelection;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::memory_feed::{MemoryFeed, everything, reader_of, token};
use crate::feed::follower::{FollowError, Follower, Told};
use crate::feed::reader::FeedReader;
use crate::queries::QueryError;

const EVENTS: u32 = 1_500;
/// Longest wait until each follower has been told everything.
const DEADLINE: Duration = Duration::from_secs(30);
/// A follower begins after so many events, again and again.
const EVENTS_BETWEEN_STARTS: u32 = 7;

/// The places that were told, each with the position that came with it.
type Heard = Vec<(Place, Position)>;

fn hear(told: &Told, heard: &mut Heard) {
    match told {
        Told::Page(page) => page.each(|event, position| heard.push((event.place, position.clone()))),
        Told::Live(live) => heard.push((live.event.place, Position::clone(&live.position))),
        Told::Ahead(live, position) => heard.push((live.event.place, Position::clone(position))),
    }
}

/// Begins, and tries again while too many others begin, as a client does.
async fn begin(reader: &FeedReader, selection: &FeedSelection, after: &Position) -> Follower {
    loop {
        match reader.read_first(selection, after, 3).await {
            Err(QueryError::TooManyFeedReads(_)) => tokio::task::yield_now().await,
            page => return Follower::new(reader.clone(), selection.clone(), after.clone(), page.unwrap()),
        }
    }
}

/// Follows until it has heard of `last` in each partition.
async fn follow(reader: FeedReader, selection: FeedSelection, after: Position, end: Position) -> Heard {
    let mut follower = begin(&reader, &selection, &after).await;
    let mut heard = Heard::new();
    while !follower.position().covers(&end) {
        let told = follower.next().await.unwrap();
        hear(&told, &mut heard);
    }
    heard
}

/// Asserts that exactly these places were told, in the order of each partition, and that whoever resumes at any of the positions is told the
/// rest.
fn assert_exact(heard: &Heard, expected: &[Place], after: &Position, what: &str) {
    let by_partition = |places: &mut dyn Iterator<Item = Place>| {
        let mut partitions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        places.for_each(|place| partitions.entry(place.partition).or_default().push(place.offset));
        partitions
    };
    let told = by_partition(&mut heard.iter().map(|(place, _)| *place));
    assert_eq!(told, by_partition(&mut expected.iter().copied()), "{what}");
    let mut last = after.clone();
    for (at, (_, position)) in heard.iter().enumerate() {
        assert!(position.covers(&last), "{what}: a step back to {position} from {last}");
        last = position.clone();
        // Exactly what was told so far is covered.
        let covered = |place: &Place| position.bound(place.partition) > place.offset;
        assert!(heard[..=at].iter().all(|(place, _)| covered(place)), "{what}: {position}");
        if at % 50 == 0 {
            assert!(!heard[at + 1..].iter().any(|(place, _)| covered(place)), "{what}: {position} covers more");
        }
    }
}

fn selections() -> [FeedSelection; 3] {
    let chats = |numbers: &[u32]| numbers.iter().map(|number| ChatNumber::new(*number).unwrap()).collect();
    [
        everything(1),
        FeedSelection { token: token(1), application: false, chats: Some(chats(&[2])) },
        FeedSelection { token: token(2), application: true, chats: Some(chats(&[1, 3, 4])) },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_that_begin_at_every_moment_are_told_each_event_once() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    for (byte, chat) in [(1, 1), (1, 2), (2, 1), (2, 3), (2, 4)] {
        feed.post(byte, chat, "first");
    }
    let mut ends = Vec::new();
    let last = |feed: &MemoryFeed| {
        let mut end = Position::default();
        feed.places(&everything(1), &end).iter().for_each(|place| end.merge(&place.covered()));
        end
    };
    let (done, is_done) = tokio::sync::watch::channel(None::<Vec<Position>>);
    let mut followers = JoinSet::new();
    for number in 0..EVENTS {
        let byte = if number % 5 == 0 { 2 } else { 1 };
        feed.post(byte, number % 4 + 1, "x");
        if number % EVENTS_BETWEEN_STARTS == 0 {
            let now = last(&feed);
            for (index, selection) in selections().into_iter().enumerate() {
                let after = if (number + index as u32).is_multiple_of(3) { now.clone() } else { Position::default() };
                let (reader, mut is_done) = (reader.clone(), is_done.clone());
                followers.spawn(async move {
                    // Where it ends is known later; until then it follows whatever comes.
                    let mut follower = begin(&reader, &selection, &after).await;
                    let mut heard = Heard::new();
                    loop {
                        let end = is_done.borrow_and_update().as_ref().map(|ends: &Vec<Position>| ends[index].clone());
                        if end.is_some_and(|end| follower.position().covers(&end)) {
                            return (selection, after, heard);
                        }
                        tokio::select! {
                            told = follower.next() => hear(&told.unwrap(), &mut heard),
                            _ = is_done.changed() => {}
                        }
                    }
                });
            }
            tokio::task::yield_now().await;
        }
    }
    for selection in selections() {
        let mut end = Position::default();
        feed.places(&selection, &end).iter().for_each(|place| end.merge(&place.covered()));
        ends.push(end);
    }
    done.send_replace(Some(ends));
    let mut count = 0;
    while let Some(ended) = timeout(DEADLINE, followers.join_next()).await.expect("a follower misses an event") {
        let (selection, after, heard) = ended.unwrap();
        assert_exact(&heard, &feed.places(&selection, &after), &after, &format!("{selection:?} after {after}"));
        count += 1;
    }
    assert!(count > 600, "{count}");
    while reader.tail.is_running() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A follower that goes on from any position that it was told.
#[tokio::test]
async fn whoever_resumes_at_any_position_is_told_the_rest() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    for number in 0..60 {
        feed.post(1, number % 4 + 1, "x");
    }
    let selection = everything(1);
    let end = feed.places(&selection, &Position::default()).iter().fold(Position::default(), |mut end, place| {
        end.merge(&place.covered());
        end
    });
    let heard = follow(reader.clone(), selection.clone(), Position::default(), end.clone()).await;
    for (at, (_, position)) in heard.iter().enumerate() {
        let rest = follow(reader.clone(), selection.clone(), position.clone(), end.clone()).await;
        let mut places: Vec<_> = rest.iter().map(|(place, _)| *place).collect();
        let mut expected: Vec<_> = heard[at + 1..].iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        expected.sort_unstable();
        assert_eq!(places, expected, "after {position}");
    }
}

/// A call that is given up, as for a comment or a check of the principal, loses nothing.
#[tokio::test]
async fn a_wait_that_is_given_up_at_any_moment_loses_nothing() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    feed.post(1, 1, "first");
    let mut follower = begin(&reader, &everything(1), &Position::default()).await;
    let mut heard = Heard::new();
    for number in 0..200_u32 {
        feed.post(1, number % 4 + 1, "x");
        for polls in 0..number % 5 {
            let mut next = Box::pin(follower.next());
            for _ in 0..polls {
                if let std::task::Poll::Ready(told) = futures_util::poll!(next.as_mut()) {
                    hear(&told.unwrap(), &mut heard);
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    let expected = feed.places(&everything(1), &Position::default());
    while heard.len() < expected.len() {
        hear(&follower.next().await.unwrap(), &mut heard);
    }
    assert_exact(&heard, &expected, &Position::default(), "given up again and again");
}

#[tokio::test]
async fn a_slow_listener_is_told_so_and_delays_nobody() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    feed.post(1, 1, "first");
    let after = reader.feed.end().await.unwrap();
    let (mut slow, mut quick) =
        (begin(&reader, &everything(1), &after).await, begin(&reader, &everything(1), &after).await);
    for follower in [&mut slow, &mut quick] {
        let mut listening = Box::pin(follower.next());
        while !reader.tail.is_running() {
            assert!(futures_util::poll!(listening.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        assert!(futures_util::poll!(listening.as_mut()).is_pending());
    }
    let body = "b".repeat(1_024);
    let mut heard = Heard::new();
    for number in 0..600 {
        feed.post(1, number % 4 + 1, &body);
        while heard.len() <= number as usize {
            hear(&quick.next().await.unwrap(), &mut heard);
        }
    }
    let mut before_the_end = Heard::new();
    let ended = loop {
        match slow.next().await {
            Ok(told) => hear(&told, &mut before_the_end),
            Err(ended) => break ended,
        }
    };
    assert!(matches!(ended, FollowError::TooSlow), "{ended:?}");
    // It resumes where it was, and has all of it.
    let end = reader.feed.end().await.unwrap();
    let resumed_after = slow.position().clone();
    drop(slow);
    let rest = follow(reader.clone(), everything(1), resumed_after, end).await;
    assert_eq!(before_the_end.len() + rest.len(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_cannot_be_read_for_a_while_loses_nothing() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    feed.post(1, 1, "first");
    let after = reader.feed.end().await.unwrap();
    let mut follower = begin(&reader, &everything(1), &after).await;
    feed.post(1, 1, "second");
    let mut heard = Heard::new();
    hear(&follower.next().await.unwrap(), &mut heard);
    feed.post(1, 2, "third");
    hear(&follower.next().await.unwrap(), &mut heard);
    feed.set_broken(true);
    feed.post(1, 3, "fourth");
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), follower.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    feed.set_broken(false);
    hear(&follower.next().await.unwrap(), &mut heard);
    assert_exact(&heard, &feed.places(&everything(1), &after), &after, "a broken feed");
}
