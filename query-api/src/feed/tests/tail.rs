//! Nobody listens in vain: whoever cannot be told anything is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use events::Position;
use read_model::{Feed, FeedError, FeedPage, FeedSelection, Views};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory_feed::{MemoryFeed, everything, reader_of};
use crate::feed::follower::{FollowError, Follower, Told};
use crate::feed::reader::FeedReader;
use crate::known_log::KnownLog;
use crate::queries::QueryError;
use crate::queries::tests::SlowProjections;

/// Longer than anything may take.
const LONG: Duration = Duration::from_secs(60);

/// Follows from the end on.
async fn follow_from_end(reader: &FeedReader) -> Follower {
    let after = reader.feed.end().await.unwrap();
    let page = reader.read_first(&everything(1), &after, 10).await.unwrap();
    Follower::new(reader.clone(), everything(1), after, page)
}

async fn next(follower: &mut Follower) -> Result<Told, FollowError> {
    tokio::time::timeout(LONG, follower.next()).await.expect("somebody listens in vain")
}

fn is_unreadable(told: &Result<Told, FollowError>) -> bool {
    matches!(told, Err(FollowError::Query(QueryError::Feed(FeedError::Backend { .. }))))
}

#[tokio::test(start_paused = true)]
async fn followers_end_when_the_feed_cannot_be_read_for_long_and_go_on_later() {
    let feed = MemoryFeed::new();
    let reader = reader_of(&feed, CancellationToken::new());
    feed.post(1, 1, "first");
    let mut follower = follow_from_end(&reader).await;
    let breaking = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        feed.set_broken(true);
        Instant::now()
    };
    let (told, broken_at) = tokio::join!(next(&mut follower), breaking);
    assert!(is_unreadable(&told), "{told:?}");
    let waited = broken_at.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(35), "{waited:?}");
    assert!(!reader.tail.is_running());
    feed.set_broken(false);
    let mut again = follow_from_end(&reader).await;
    let posting = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        feed.post(1, 1, "second");
    };
    let (told, ()) = tokio::join!(next(&mut again), posting);
    assert!(told.is_ok(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_ends_nobody_who_reads() {
    const LONG_BODY: usize = 16 * 1024;
    for (messages, body) in [(2_000, "short".to_owned()), (100, "x".repeat(LONG_BODY))] {
        let feed = MemoryFeed::new();
        feed.post(1, 1, "first");
        let reader = reader_of(&feed, CancellationToken::new());
        let mut follower = follow_from_end(&reader).await;
        let posting = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            // To all partitions, so that a page has more events than a queue takes.
            for number in 0..messages {
                feed.post(1, number % 3 + 1, &body);
            }
        };
        let reading = async {
            for told in 0..messages {
                let next = next(&mut follower).await;
                assert!(matches!(next, Ok(Told::Live(_) | Told::Ahead(..))), "after {told}: {next:?}");
            }
        };
        tokio::join!(posting, reading);
    }
}

/// A feed whose live end panics while it is told to.
struct PanickingFeed {
    feed: Arc<MemoryFeed>,
    panics: AtomicBool,
}

#[async_trait]
impl Feed for PanickingFeed {
    async fn page(
        &self,
        selection: &FeedSelection,
        after: &Position,
        limit: u32,
    ) -> Result<Option<FeedPage>, FeedError> {
        self.feed.page(selection, after, limit).await
    }

    async fn tail(&self, after: &Position, limit: u32) -> Result<FeedPage, FeedError> {
        assert!(!self.panics.load(Ordering::SeqCst), "the test wants it");
        self.feed.tail(after, limit).await
    }

    async fn end(&self) -> Result<Position, FeedError> {
        self.feed.end().await
    }

    async fn passed(&self, seen: &Position, within: Duration) -> Result<Position, FeedError> {
        self.feed.passed(seen, within).await
    }

    fn concurrent_pages(&self) -> usize {
        self.feed.concurrent_pages()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_tail_ends_those_who_listen_and_nobody_who_comes_later() {
    let memory = MemoryFeed::new();
    memory.post(1, 1, "first");
    let feed = Arc::new(PanickingFeed { feed: Arc::clone(&memory), panics: AtomicBool::new(true) });
    let views: Arc<dyn Views> = Arc::new(SlowProjections::new(Duration::ZERO));
    let known_log = KnownLog::new(Arc::clone(&views));
    let reader = FeedReader::new(Arc::clone(&feed) as _, views, known_log, CancellationToken::new());
    let posting = async |body: &str| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        memory.post(1, 1, body);
    };
    let mut follower = follow_from_end(&reader).await;
    let (told, ()) = tokio::join!(next(&mut follower), posting("second"));
    assert!(is_unreadable(&told), "{told:?}");
    assert!(!reader.tail.is_running());
    feed.panics.store(false, Ordering::SeqCst);
    let mut later = follow_from_end(&reader).await;
    let (told, ()) = tokio::join!(next(&mut later), posting("third"));
    assert!(told.is_ok(), "{told:?}");
}
