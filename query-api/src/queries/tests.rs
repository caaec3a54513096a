//! Waits for positions, and searches at the same time.

use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use events::{LogId, Offset, PartitionId, Position};
use futures_util::poll;
use read_model::{Applied, Checkpoint, CheckpointMove, SearchDocument};
use tokio::sync::Semaphore;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(2);
/// More than [`MIN_SEARCHES_OF_APPLICATION`].
const CONCURRENT_SEARCHES: usize = 6;

/// What every read shows.
fn shown_position() -> Position {
    Position::up_to(PartitionId(3), Offset(5))
}

fn found_nothing() -> Shown<SearchPage> {
    Shown { value: SearchPage { items: Vec::new(), examined_to: None }, position: Position::default() }
}

/// Projections that each reach any position after a delay.
pub(crate) struct SlowProjections {
    delay: Duration,
    /// What `views` knows of its log, now and once it has reached any position.
    log: Mutex<[Option<LogId>; 2]>,
}

impl SlowProjections {
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay, log: Mutex::default() }
    }

    async fn wait_until_reached(&self, timeout: Duration) -> bool {
        tokio::time::sleep(timeout.min(self.delay)).await;
        let mut log = self.log.lock().unwrap();
        log[0] = log[1];
        timeout >= self.delay
    }
}

#[async_trait]
impl Views for SlowProjections {
    async fn reached(&self, _: Projection, _: &Position, timeout: Duration) -> Result<bool, ViewsError> {
        Ok(self.wait_until_reached(timeout).await)
    }

    async fn log_id(&self) -> Result<Option<LogId>, ViewsError> {
        Ok(self.log.lock().unwrap()[0])
    }

    async fn chat(&self, chat: ChatKey, _: LastMessage) -> Result<Option<Shown<ChatView>>, ViewsError> {
        let chat = ChatView { number: chat.number, messages_count: 0, created_at: None, last_message: None };
        Ok(Some(Shown { value: chat, position: shown_position() }))
    }

    async fn find_chat(&self, _: ChatKey) -> Result<Option<Position>, ViewsError> {
        Ok(Some(shown_position()))
    }

    async fn application(&self, _: ApplicationToken) -> Result<Option<Shown<ApplicationView>>, ViewsError> {
        unreachable!()
    }

    async fn applications(&self, _: Page<ApplicationToken>) -> Result<Shown<Slice<ApplicationView>>, ViewsError> {
        unreachable!()
    }

    async fn chats(
        &self,
        _: ApplicationToken,
        _: Page<ChatNumber>,
        _: LastMessage,
    ) -> Result<Option<Shown<Slice<ChatView>>>, ViewsError> {
        unreachable!()
    }

    async fn message(&self, _: ChatKey, _: MessageNumber) -> Result<Option<Shown<MessageView>>, ViewsError> {
        unreachable!()
    }

    async fn messages(
        &self,
        _: ChatKey,
        _: Page<MessageNumber>,
    ) -> Result<Option<Shown<Slice<MessageView>>>, ViewsError> {
        unreachable!()
    }
}

#[async_trait]
impl SearchIndex for SlowProjections {
    fn batch_size(&self) -> u32 {
        1
    }

    fn concurrent_searches(&self) -> usize {
        CONCURRENT_SEARCHES
    }

    async fn reached(&self, _: &Position, timeout: Duration) -> Result<bool, SearchError> {
        Ok(self.wait_until_reached(timeout).await)
    }

    async fn search(
        &self,
        _: ChatKey,
        _: &SearchText,
        _: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        Ok(found_nothing())
    }

    async fn checkpoint(&self, _: PartitionId) -> Result<Checkpoint, SearchError> {
        unreachable!()
    }

    async fn index(&self, _: CheckpointMove, _: Vec<SearchDocument>) -> Result<Applied, SearchError> {
        unreachable!()
    }
}

/// Reads a chat and searches in it. Returns each outcome, and how long it took.
async fn query_slow_projections(delay: Duration, stop: CancellationToken) -> [(Result<(), QueryError>, Duration); 2] {
    let projections = Arc::new(SlowProjections::new(delay));
    let queries = Queries::new(Arc::clone(&projections) as _, projections, stop);
    let position = Some("0:1".parse().unwrap());
    let wait = AwaitPosition { position, timeout: TIMEOUT };
    let token = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);
    let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
    let started = Instant::now();
    let shown = (queries.chat(&wait, chat, LastMessage::Skip).await.map(drop), started.elapsed());
    let started = Instant::now();
    let found = queries.search(&wait, chat, &SearchText::new("x").unwrap(), Page::FIRST).await;
    [shown, (found.map(drop), started.elapsed())]
}

#[tokio::test(start_paused = true)]
async fn all_projections_of_a_query_share_one_timeout() {
    for (outcome, took) in query_slow_projections(TIMEOUT / 4, CancellationToken::new()).await {
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(took, TIMEOUT / 2);
    }
    let [(shown, took), (found, search_took)] = query_slow_projections(TIMEOUT * 3 / 4, CancellationToken::new()).await;
    assert!(matches!(shown, Err(QueryError::ProjectionBehind(Projection::Counts))), "{shown:?}");
    assert!(matches!(found, Err(QueryError::ProjectionBehind(Projection::Search))), "{found:?}");
    assert_eq!([took, search_took], [TIMEOUT, TIMEOUT]);
}

/// So a reader that keeps the last position has not forgotten what earlier answers have shown.
#[tokio::test(start_paused = true)]
async fn an_answer_covers_what_it_shows_and_what_was_awaited() {
    let projections = Arc::new(SlowProjections::new(Duration::ZERO));
    let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
    let chat = ChatKey { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
    let text = SearchText::new("x").unwrap();
    for (awaited, covered) in [(None, "3:5"), (Some("0:7.3:4"), "0:7.3:5"), (Some("3:9"), "3:9")] {
        let wait = AwaitPosition { position: awaited.map(|text| text.parse().unwrap()), timeout: TIMEOUT };
        assert_eq!(queries.chat(&wait, chat, LastMessage::Skip).await.unwrap().position.to_string(), covered);
        let found = queries.search(&wait, chat, &text, Page::FIRST).await.unwrap();
        assert_eq!(found.position.to_string(), covered, "a search that finds nothing shows the chat");
    }
}

fn marked_log(mark: u8) -> LogId {
    LogId::of_marked_log([mark; 16])
}

/// Reads a chat with an awaited position. Returns the position of the answer.
async fn read_chat(queries: &Queries, awaited: &str) -> Result<String, QueryError> {
    let wait = AwaitPosition { position: Some(awaited.parse().unwrap()), timeout: TIMEOUT };
    let chat = ChatKey { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
    queries.chat(&wait, chat, LastMessage::Skip).await.map(|answer| answer.position.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_position_of_another_log_is_refused_at_once() {
    let unmarked = LogId(Default::default());
    for (log, awaited, answer) in [
        (unmarked, "0:7", Some("0:7.3:5")),
        (unmarked, "aaaaaaaa~0:7", None),
        (marked_log(0xaa), "aaaaaaaa~0:7", Some("aaaaaaaa~0:7.3:5")),
        (marked_log(0xaa), "0:7", None),
        (marked_log(0xaa), "bbbbbbbb~0:7", None),
        (marked_log(0xaa), "0:0", Some("aaaaaaaa~0:0.3:5")),
    ] {
        let projections = Arc::new(SlowProjections::new(TIMEOUT / 8));
        *projections.log.lock().unwrap() = [Some(log); 2];
        let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
        for _ in 0..2 {
            let started = Instant::now();
            let outcome = read_chat(&queries, awaited).await;
            match answer {
                Some(position) => assert_eq!(outcome.unwrap(), position),
                None => {
                    assert!(matches!(outcome, Err(QueryError::PositionUnknown)), "{awaited}: {outcome:?}");
                    assert_eq!(started.elapsed(), Duration::ZERO);
                }
            }
        }
    }
}

/// A system that is empty when this process starts gets its log by an import.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_known_yet_is_known_after_the_wait() {
    for (log, awaited, is_answered) in [
        (Some(marked_log(0xaa)), "aaaaaaaa~0:7", true),
        (Some(marked_log(0xaa)), "0:7", false),
        (None, "0:7", true),
        (None, "aaaaaaaa~0:7", false),
    ] {
        let projections = Arc::new(SlowProjections::new(TIMEOUT / 8));
        projections.log.lock().unwrap()[1] = log;
        let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
        let outcome = read_chat(&queries, awaited).await;
        assert_eq!(outcome.is_ok(), is_answered, "{awaited} of {log:?}: {outcome:?}");
        let is_refused = matches!(outcome, Err(QueryError::PositionUnknown | QueryError::ProjectionBehind(_)));
        assert!(is_answered || is_refused, "{outcome:?}");
    }
}

/// Another log is imported into emptied servers while this process runs.
#[tokio::test(start_paused = true)]
async fn a_log_that_takes_the_place_of_another_is_recognised() {
    let projections = Arc::new(SlowProjections::new(Duration::ZERO));
    let queries = Queries::new(Arc::clone(&projections) as _, Arc::clone(&projections) as _, CancellationToken::new());
    for mark in [0xaa, 0xbb] {
        *projections.log.lock().unwrap() = [Some(marked_log(mark)); 2];
        let own = format!("{}~0:7", marked_log(mark).mark().unwrap());
        assert_eq!(read_chat(&queries, &own).await.unwrap(), format!("{own}.3:5"));
    }
    assert!(matches!(read_chat(&queries, "aaaaaaaa~0:7").await, Err(QueryError::PositionUnknown)));
}

/// Nobody has sent a position of the new log yet.
#[tokio::test(start_paused = true)]
async fn positions_of_a_log_that_is_gone_are_refused_after_seconds() {
    let projections = Arc::new(SlowProjections::new(Duration::ZERO));
    let queries = Queries::new(Arc::clone(&projections) as _, Arc::clone(&projections) as _, CancellationToken::new());
    *projections.log.lock().unwrap() = [Some(marked_log(0xaa)); 2];
    assert_eq!(read_chat(&queries, "aaaaaaaa~0:7").await.unwrap(), "aaaaaaaa~0:7.3:5");
    *projections.log.lock().unwrap() = [Some(marked_log(0xbb)); 2];
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(read_chat(&queries, "0:0").await.unwrap(), "bbbbbbbb~0:0.3:5");
    assert!(matches!(read_chat(&queries, "aaaaaaaa~0:7").await, Err(QueryError::PositionUnknown)));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_waits_is_refused_at_once_when_the_process_stops() {
    let stop = CancellationToken::new();
    let cancel = async {
        tokio::time::sleep(TIMEOUT / 8).await;
        stop.cancel();
    };
    let (outcomes, ()) = tokio::join!(query_slow_projections(TIMEOUT / 2, stop.clone()), cancel);
    for ((outcome, took), waited) in outcomes.into_iter().zip([TIMEOUT / 8, Duration::ZERO]) {
        assert!(matches!(outcome, Err(QueryError::Draining)), "{outcome:?}");
        assert_eq!(took, waited);
    }
    for (outcome, _) in query_slow_projections(Duration::ZERO, stop).await {
        assert!(outcome.is_ok(), "it need not wait: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_that_wait_leave_room_for_others() {
    let projections = Arc::new(SlowProjections::new(TIMEOUT / 2));
    let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
    let wait = AwaitPosition { position: Some("0:1".parse().unwrap()), timeout: TIMEOUT };
    let chat = ChatKey { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
    let waiting: Vec<_> = (0..MAX_WAITS + 8)
        .map(|_| {
            let (queries, wait) = (queries.clone(), wait.clone());
            tokio::spawn(async move { queries.chat(&wait, chat, LastMessage::Skip).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for outcome in waiting {
        outcomes.push(outcome.await.unwrap());
    }
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(QueryError::TooManyWaits(_)))).count();
    assert!(refused == 8 && outcomes.iter().skip(8).all(Result::is_ok), "{refused} were refused");
}

/// An index whose searches end when the test says so.
struct HeldIndex(Semaphore);

#[async_trait]
impl SearchIndex for HeldIndex {
    fn batch_size(&self) -> u32 {
        1
    }

    fn concurrent_searches(&self) -> usize {
        CONCURRENT_SEARCHES
    }

    async fn reached(&self, _: &Position, _: Duration) -> Result<bool, SearchError> {
        Ok(true)
    }

    async fn search(
        &self,
        _: ChatKey,
        _: &SearchText,
        _: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, SearchError> {
        self.0.acquire().await.unwrap().forget();
        Ok(found_nothing())
    }

    async fn checkpoint(&self, _: PartitionId) -> Result<Checkpoint, SearchError> {
        unreachable!()
    }

    async fn index(&self, _: CheckpointMove, _: Vec<SearchDocument>) -> Result<Applied, SearchError> {
        unreachable!()
    }
}

fn held_index(stop: CancellationToken) -> (Arc<HeldIndex>, Queries) {
    let (views, index) = (Arc::new(SlowProjections::new(Duration::ZERO)), Arc::new(HeldIndex(Semaphore::new(0))));
    let queries = Queries::new(views, Arc::clone(&index) as _, stop);
    (index, queries)
}

async fn search(queries: &Queries, application: u8) -> Result<Answer<SearchPage>, QueryError> {
    let wait = AwaitPosition { position: None, timeout: TIMEOUT };
    let token = ApplicationToken::from_bytes([application; 16]);
    let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
    queries.search(&wait, chat, &SearchText::new("x").unwrap(), Page::FIRST).await
}

#[tokio::test]
async fn a_search_too_many_displaces_the_one_that_has_waited_the_longest() {
    let (index, queries) = held_index(CancellationToken::new());
    let running = CONCURRENT_SEARCHES;
    let count = running + MAX_WAITING_SEARCHES + 1;
    let all = futures_util::future::join_all((0..count).map(|_| search(&queries, 1)));
    let (outcomes, ()) = tokio::join!(all, async { index.0.add_permits(count) });
    for (at, outcome) in outcomes.into_iter().enumerate() {
        // The first ones run, and the next one waits the longest.
        let is_displaced = matches!(outcome, Err(QueryError::TooManySearches(_)));
        assert_eq!((is_displaced, outcome.is_ok()), (at == running, at != running), "{at}");
    }
    assert!(search(&queries, 1).await.is_ok(), "there is room again");
}

#[tokio::test]
async fn searches_that_wait_for_their_turn_are_refused_when_the_process_stops_and_those_that_run_are_answered() {
    let stop = CancellationToken::new();
    let (index, queries) = held_index(stop.clone());
    let running = CONCURRENT_SEARCHES;
    let mut all = pin!(futures_util::future::join_all((0..running + 3).map(|_| search(&queries, 1))));
    assert!(poll!(all.as_mut()).is_pending());
    stop.cancel();
    assert!(poll!(all.as_mut()).is_pending(), "those that run go on");
    index.0.add_permits(running);
    let outcomes = tokio::time::timeout(TIMEOUT, all).await;
    for (at, outcome) in outcomes.expect("a search waits on").into_iter().enumerate() {
        let is_refused = matches!(outcome, Err(QueryError::Draining));
        assert_eq!((outcome.is_ok(), is_refused), (at < running, at >= running), "{at}");
    }
}

#[tokio::test]
async fn a_flood_of_one_applications_searches_neither_delays_nor_displaces_those_of_another() {
    let (index, queries) = held_index(CancellationToken::new());
    let count = CONCURRENT_SEARCHES + 2 * MAX_WAITING_SEARCHES;
    let flood = futures_util::future::join_all((0..count).map(|_| search(&queries, 1)));
    let (flood, other) = (tokio::time::timeout(TIMEOUT, flood), tokio::time::timeout(TIMEOUT, search(&queries, 2)));
    let permits_of_running = async { index.0.add_permits(CONCURRENT_SEARCHES + 1) };
    tokio::time::pause();
    let (flood, other, ()) = tokio::join!(flood, other, permits_of_running);
    assert!(flood.is_err(), "the flood is still there");
    assert!(other.unwrap().is_ok());
}
