//! The queries of the read side, one method each.

use std::sync::Arc;

use event_log::{EventLog, ReadError};
use events::{ApplicationToken, ChatKey, ChatNumber, MessageNumber};
use read_model::{
    ApplicationView, ChatView, MessageView, Page, Projection, SearchError, SearchIndex, SearchPage, SearchText, Shown,
    Slice, Views, ViewsError,
};
use service::turns::{TurnBounds, Turns};
use service::wait_limit::{Displaced, WaitLimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::await_position::AwaitPosition;

/// Most queries that wait for a position at once, so that they leave room for those that need not wait.
pub const MAX_WAITS: usize = 512;
/// The searches that the index has at once: more than either index runs, so that none of its threads waits for one, and of one
/// application half as many, so that its searches leave turns to others. And how many may wait, so that they leave room for
/// other queries.
const SEARCHES: TurnBounds = TurnBounds { max_running: 8, max_running_of_key: 4, max_waiting: 256 };

/// Answers queries from the projections.
#[derive(Clone)]
pub struct Queries {
    views: Arc<dyn Views>,
    search: Arc<dyn SearchIndex>,
    /// The log, if this process can ask it for its end at once.
    log: Option<Arc<dyn EventLog>>,
    /// Bounds the waits for positions.
    waits: WaitLimit,
    /// Gives applications their turns to search. A search that runs is never given up for another: under a flood of searches
    /// none would end.
    searches: Turns<ApplicationToken>,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// The projection did not reach the awaited position in time.
    #[error(
        "the projection {} is behind the awaited position; if this goes on, the position may be of another log", .0.name()
    )]
    ProjectionBehind(Projection),
    /// The awaited position is beyond the log's end: it is of another log, or this one has lost its end.
    #[error("the log does not have the awaited position; forget the position and read again")]
    PositionUnknown,
    #[error("the end of the log cannot be read")]
    Log(#[source] ReadError),
    #[error("too many reads wait for a position; the oldest, this one, was given up; try again")]
    TooManyWaits(#[source] Displaced),
    #[error(
        "too many searches wait for their turn; the oldest of the application that has the most, this one, was given up; try again"
    )]
    TooManySearches(#[source] Displaced),
    /// The process stopped while the query waited for a projection.
    #[error("this process is stopping; try again")]
    Draining,
    #[error("the views cannot be read")]
    Views(#[source] ViewsError),
    #[error("the search index cannot be read")]
    Search(#[source] SearchError),
}

/// The projections behind answers without counts.
const VIEWS: [Projection; 1] = [Projection::Views];
/// The projections behind answers with counts.
const VIEWS_AND_COUNTS: [Projection; 2] = [Projection::Views, Projection::Counts];

const APPLICATION: QueryError = QueryError::Unknown("application");
const CHAT: QueryError = QueryError::Unknown("chat");
const MESSAGE: QueryError = QueryError::Unknown("message");

/// What a port has read becomes the answer to a reader who has awaited a position.
fn answer<T>(
    read: Result<Option<Shown<T>>, ViewsError>,
    wait: &AwaitPosition,
    absent: QueryError,
) -> Result<Shown<T>, QueryError> {
    Ok(wait.extend(read.map_err(QueryError::Views)?.ok_or(absent)?))
}

impl Queries {
    /// `stop` ends the waits for projections.
    pub fn new(views: Arc<dyn Views>, search: Arc<dyn SearchIndex>, stop: CancellationToken) -> Self {
        let (waits, searches) = (WaitLimit::new(MAX_WAITS), Turns::new(SEARCHES));
        Self { views, search, log: None, waits, searches, stop }
    }

    /// Refuses to wait for positions beyond the end of `log`, which answers at once.
    #[must_use]
    pub fn with_log(self, log: Arc<dyn EventLog>) -> Self {
        Self { log: Some(log), ..self }
    }

    pub async fn application(
        &self,
        wait: &AwaitPosition,
        token: ApplicationToken,
    ) -> Result<Shown<ApplicationView>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        answer(self.views.application(token).await, wait, APPLICATION)
    }

    pub async fn applications(
        &self,
        wait: &AwaitPosition,
        page: Page<ApplicationToken>,
    ) -> Result<Shown<Slice<ApplicationView>>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        answer(self.views.applications(page).await.map(Some), wait, APPLICATION)
    }

    pub async fn chat(&self, wait: &AwaitPosition, chat: ChatKey) -> Result<Shown<ChatView>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        answer(self.views.chat(chat).await, wait, CHAT)
    }

    pub async fn chats(
        &self,
        wait: &AwaitPosition,
        token: ApplicationToken,
        page: Page<ChatNumber>,
    ) -> Result<Shown<Slice<ChatView>>, QueryError> {
        self.await_projections(&VIEWS_AND_COUNTS, wait).await?;
        answer(self.views.chats(token, page).await, wait, APPLICATION)
    }

    pub async fn message(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        number: MessageNumber,
    ) -> Result<Shown<MessageView>, QueryError> {
        self.await_projections(&VIEWS, wait).await?;
        answer(self.views.message(chat, number).await, wait, MESSAGE)
    }

    pub async fn messages(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        page: Page<MessageNumber>,
    ) -> Result<Shown<Slice<MessageView>>, QueryError> {
        self.await_projections(&VIEWS, wait).await?;
        answer(self.views.messages(chat, page).await, wait, CHAT)
    }

    /// Returns the messages of a chat that contain a text, by number.
    pub async fn search(
        &self,
        wait: &AwaitPosition,
        chat: ChatKey,
        text: &SearchText,
        page: Page<MessageNumber>,
    ) -> Result<Shown<SearchPage>, QueryError> {
        let started = Instant::now();
        self.await_projections(&VIEWS, wait).await?;
        if let Some(position) = &wait.position {
            let timeout = wait.timeout.saturating_sub(started.elapsed());
            if !self.wait(self.search.reached(position, timeout)).await?.map_err(QueryError::Search)? {
                return Err(QueryError::ProjectionBehind(Projection::Search));
            }
        }
        let _turn = self.searches.take(chat.token).await.map_err(QueryError::TooManySearches)?;
        let created = self.views.find_chat(chat).await.map_err(QueryError::Views)?.ok_or(CHAT)?;
        let found = self.search.search(chat, text, page).await.map_err(QueryError::Search)?;
        Ok(wait.extend(found.and(&created)))
    }

    /// Waits until these projections have reached the awaited position. All of them share one timeout.
    async fn await_projections(&self, projections: &[Projection], wait: &AwaitPosition) -> Result<(), QueryError> {
        let Some(position) = &wait.position else {
            return Ok(());
        };
        if let Some(log) = &self.log
            && !log.end().await.map_err(QueryError::Log)?.covers(position)
        {
            return Err(QueryError::PositionUnknown);
        }
        let started = Instant::now();
        for projection in projections {
            let timeout = wait.timeout.saturating_sub(started.elapsed());
            let reached = self.views.reached(*projection, position, timeout);
            if !self.wait(reached).await?.map_err(QueryError::Views)? {
                return Err(QueryError::ProjectionBehind(*projection));
            }
        }
        Ok(())
    }

    /// Waits until the process stops at most, so that waiting queries do not hold up the stop, and only while few others wait.
    async fn wait<T>(&self, waiting: impl Future<Output = T>) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            outcome = self.waits.run(waiting) => outcome.map_err(QueryError::TooManyWaits),
            () = self.stop.cancelled() => Err(QueryError::Draining),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use events::{Offset, PartitionId, Position};
    use read_model::{Applied, Checkpoint, CheckpointMove, SearchDocument};
    use tokio::sync::Semaphore;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    /// What every read shows.
    fn shown_position() -> Position {
        Position::up_to(PartitionId(3), Offset(5))
    }

    fn found_nothing() -> Shown<SearchPage> {
        Shown { value: SearchPage { items: Vec::new(), examined_to: None }, position: Position::default() }
    }

    /// Projections that each reach any position after this delay.
    struct SlowProjections(Duration);

    impl SlowProjections {
        async fn wait_until_reached(&self, timeout: Duration) -> bool {
            tokio::time::sleep(timeout.min(self.0)).await;
            timeout >= self.0
        }
    }

    #[async_trait]
    impl Views for SlowProjections {
        async fn reached(&self, _: Projection, _: &Position, timeout: Duration) -> Result<bool, ViewsError> {
            Ok(self.wait_until_reached(timeout).await)
        }

        async fn chat(&self, chat: ChatKey) -> Result<Option<Shown<ChatView>>, ViewsError> {
            let chat = ChatView { number: chat.number, messages_count: 0 };
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
    async fn query_slow_projections(
        delay: Duration,
        stop: CancellationToken,
    ) -> [(Result<(), QueryError>, Duration); 2] {
        let projections = Arc::new(SlowProjections(delay));
        let queries = Queries::new(Arc::clone(&projections) as _, projections, stop);
        let position = Some(Position::up_to(PartitionId(0), Offset(1)));
        let wait = AwaitPosition { position, timeout: TIMEOUT };
        let token = ApplicationToken::from_bytes([1; ApplicationToken::BYTES]);
        let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
        let started = Instant::now();
        let shown = (queries.chat(&wait, chat).await.map(drop), started.elapsed());
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
        let [(shown, took), (found, search_took)] =
            query_slow_projections(TIMEOUT * 3 / 4, CancellationToken::new()).await;
        assert!(matches!(shown, Err(QueryError::ProjectionBehind(Projection::Counts))), "{shown:?}");
        assert!(matches!(found, Err(QueryError::ProjectionBehind(Projection::Search))), "{found:?}");
        assert_eq!([took, search_took], [TIMEOUT, TIMEOUT]);
    }

    /// So a reader that keeps the last position has not forgotten what earlier answers have shown.
    #[tokio::test(start_paused = true)]
    async fn an_answer_covers_what_it_shows_and_what_was_awaited() {
        let projections = Arc::new(SlowProjections(Duration::ZERO));
        let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
        let chat = ChatKey { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
        let text = SearchText::new("x").unwrap();
        for (awaited, covered) in [(None, "3:5"), (Some("0:7.3:4"), "0:7.3:5"), (Some("3:9"), "3:9")] {
            let wait = AwaitPosition { position: awaited.map(|text| text.parse().unwrap()), timeout: TIMEOUT };
            assert_eq!(queries.chat(&wait, chat).await.unwrap().position.to_string(), covered);
            let found = queries.search(&wait, chat, &text, Page::FIRST).await.unwrap();
            assert_eq!(found.position.to_string(), covered, "a search that finds nothing shows the chat");
        }
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
        let projections = Arc::new(SlowProjections(TIMEOUT / 2));
        let queries = Queries::new(Arc::clone(&projections) as _, projections, CancellationToken::new());
        let wait = AwaitPosition { position: Some(Position::up_to(PartitionId(0), Offset(1))), timeout: TIMEOUT };
        let chat = ChatKey { token: ApplicationToken::from_bytes([1; 16]), number: ChatNumber::new(1).unwrap() };
        let waiting: Vec<_> = (0..MAX_WAITS + 8)
            .map(|_| {
                let (queries, wait) = (queries.clone(), wait.clone());
                tokio::spawn(async move { queries.chat(&wait, chat).await })
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

    fn held_index() -> (Arc<HeldIndex>, Queries) {
        let (views, index) = (Arc::new(SlowProjections(Duration::ZERO)), Arc::new(HeldIndex(Semaphore::new(0))));
        let queries = Queries::new(views, Arc::clone(&index) as _, CancellationToken::new());
        (index, queries)
    }

    async fn search(queries: &Queries, application: u8) -> Result<Shown<SearchPage>, QueryError> {
        let wait = AwaitPosition { position: None, timeout: TIMEOUT };
        let token = ApplicationToken::from_bytes([application; 16]);
        let chat = ChatKey { token, number: ChatNumber::new(1).unwrap() };
        queries.search(&wait, chat, &SearchText::new("x").unwrap(), Page::FIRST).await
    }

    #[tokio::test]
    async fn a_search_too_many_displaces_the_one_that_has_waited_the_longest() {
        let (index, queries) = held_index();
        let running = SEARCHES.max_running_of_key;
        let count = running + SEARCHES.max_waiting + 1;
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
    async fn a_flood_of_one_applications_searches_neither_delays_nor_displaces_those_of_another() {
        let (index, queries) = held_index();
        let count = SEARCHES.max_running_of_key + 2 * SEARCHES.max_waiting;
        let flood = futures_util::future::join_all((0..count).map(|_| search(&queries, 1)));
        let (flood, other) = (tokio::time::timeout(TIMEOUT, flood), tokio::time::timeout(TIMEOUT, search(&queries, 2)));
        let permits_of_running = async { index.0.add_permits(SEARCHES.max_running_of_key + 1) };
        tokio::time::pause();
        let (flood, other, ()) = tokio::join!(flood, other, permits_of_running);
        assert!(flood.is_err(), "the flood is still there");
        assert!(other.unwrap().is_ok());
    }
}
