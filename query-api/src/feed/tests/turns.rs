//! Reads take turns, by kind and by application.

use std::sync::atomic::Ordering;
use std::time::Duration;

use events::Position;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::memory_feed::{MemoryFeed, everything, reader_of};
use crate::feed::reader::MAX_WAITING_REQUESTS;
use crate::queries::QueryError;

const PAGE_TIME: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_bounded_and_delay_neither_followers_nor_other_applications() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    feed.post(1, 1, "first");
    feed.post(2, 2, "of another application");
    feed.set_page_time(PAGE_TIME);
    let mut flood = JoinSet::new();
    // One is read, and as many as may wait do.
    for _ in 0..MAX_WAITING_REQUESTS + 8 {
        let reader = reader.clone();
        flood.spawn(async move { reader.read_first(&everything(1), &Position::default(), 10).await });
    }
    sleep(Duration::from_secs(1)).await;
    let mut displaced = 0;
    while let Some(ended) = flood.try_join_next() {
        let read = ended.unwrap();
        assert!(matches!(read, Err(QueryError::TooManyFeedReads(_))), "{read:?}");
        displaced += 1;
    }
    assert_eq!((displaced, feed.page_reads.load(Ordering::SeqCst)), (7, 1));
    let (own, other, start) = (everything(1), everything(2), Position::default());
    let asked_at = Instant::now();
    let (follower, request) = tokio::join!(reader.read_on(&own, &start, 10), reader.read_first(&other, &start, 10));
    assert_eq!((follower.unwrap().events.len(), request.unwrap().events.len()), (1, 1));
    assert_eq!(asked_at.elapsed(), PAGE_TIME);
}
